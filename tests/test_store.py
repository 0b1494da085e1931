"""The store's verbs, one class each, on real connections."""

from __future__ import annotations

import asyncio
import json
import random
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection, transaction

from djqueue.exceptions import WorkerLostError
from djqueue.models import (
    CancelledTask,
    Queue,
    ReadyTask,
    RunningTask,
    ScheduledTask,
    Task,
    TaskAttempt,
    TaskResult,
    Worker,
)
from djqueue.records import Claim, Lane, Outcome
from djqueue.results import AsyncResult
from djqueue.serializers import decode_error, encode_error
from djqueue.states import Ending, ScheduleReason, State
from djqueue.store import floor, lanes, results
from djqueue.store import promote as promoting
from djqueue.store import reclaim as reclaiming
from djqueue.store.cancel import forget_notes
from djqueue.store.claim import claim
from djqueue.store.exchange import exchange
from djqueue.store.lose import lose
from djqueue.store.pauses import read_pauses
from djqueue.store.promote import promote
from djqueue.store.prune import prune
from djqueue.store.reclaim import reclaim, reclaim_orphaned
from djqueue.store.release import held_by, release
from djqueue.store.settle import settle
from djqueue.store.workers import Counts, WorkerRow, heartbeat, leave, register

from .conftest import DEFAULT, Session, until_blocked
from .site.tasks import add, echo, noop, send_mail

MAIL = Lane("mail", 5)
ERROR = encode_error(WorkerLostError("gone"))
UNKNOWN = "00000000-0000-7000-8000-000000000000"
NOW = 1_900_000_000.0


def enqueue(number: int) -> list[str]:
    """Enqueue tasks and return their ids in order."""
    return [result.id for result in echo.delay_many(((n,), {}) for n in range(number))]


def ids(claims: list[Claim]) -> list[str]:
    return [claimed.id for claimed in claims]


def succeeded(claimed: Claim, value: Any = None) -> Outcome:
    return Outcome.succeeded(claimed.id, claimed.attempt, json.dumps(value), NOW, NOW + 1)


def failed(claimed: Claim) -> Outcome:
    return Outcome.failed(claimed.id, claimed.attempt, ERROR, NOW, NOW + 1)


def lost(claimed: Claim) -> Outcome:
    return Outcome.lost(claimed.id, claimed.attempt, ERROR, NOW)


def released(claimed: Claim) -> Outcome:
    return Outcome.released(claimed.id, claimed.attempt)


def claim_all(session: Session, worker: int, *wanted: Lane) -> list[Claim]:
    return session(claim, worker, wanted or [DEFAULT], 100_000)


class TestClaim:
    def test_tasks_of_a_lane_are_claimed_in_the_order_in_which_they_were_enqueued(self, session, worker):
        expected = [echo.delay(1).id, *enqueue(3), echo.delay(2).id]
        assert ids(session(claim, worker, [DEFAULT], 2)) == expected[:2]
        assert ids(session(claim, worker, [DEFAULT], 2)) == expected[2:4]
        assert ids(session(claim, worker, [DEFAULT], 2)) == expected[4:]

    def test_the_order_of_the_lanes_goes_before_the_order_of_enqueueing(self, session, worker):
        plain = noop.delay().id
        mail = send_mail.delay("bob").id
        urgent = noop.apply_async(priority=100).id
        claims = session(claim, worker, [MAIL, Lane("default", 100), DEFAULT], 10)
        assert ids(claims) == [mail, urgent, plain]

    def test_no_more_is_claimed_than_wanted_however_many_lanes_there_are(self, session, worker):
        every_lane = [Lane("default", priority) for priority in range(10)]
        for lane in every_lane:
            noop.delay_many([((), {})] * 0)
            for _ in range(3):
                noop.apply_async(priority=lane.priority)
        claims = session(claim, worker, every_lane, 7)
        assert [claimed.priority for claimed in claims] == [0, 0, 0, 1, 1, 1, 2]
        assert RunningTask.objects.count() == 7
        assert ReadyTask.objects.count() == 23

    def test_rows_that_are_not_claimed_are_not_locked_either(self, connect, worker):
        one, other = connect(), connect()
        other_worker = other.new_worker()
        expected = enqueue(10)
        one.sql("BEGIN")
        assert ids(one(claim, worker, [DEFAULT], 4)) == expected[:4]
        assert ids(other(claim, other_worker, [DEFAULT], 10)) == expected[4:]
        one.sql("COMMIT")

    def test_nothing_is_claimed_from_other_lanes(self, session, worker):
        noop.delay()
        assert session(claim, worker, [MAIL, Lane("default", 1), Lane("Default", 0), Lane("defaul", 0)], 10) == []

    def test_no_lanes_or_none_wanted_claims_nothing(self, session, worker):
        enqueue(2)
        assert session(claim, worker, [], 10) == []
        assert session(claim, worker, [DEFAULT], 0) == []

    def test_a_claim_carries_what_the_run_needs(self, session, worker):
        result = send_mail.apply_async(("bob",), {"subject": "hi"}, ignore_result=True)
        before = session.value("SELECT extract(epoch FROM clock_timestamp())::float")
        (claimed,) = claim_all(session, worker, MAIL)
        after = session.value("SELECT extract(epoch FROM clock_timestamp())::float")
        assert claimed._replace(created=0, claimed=0) == Claim(
            id=result.id,
            attempt=1,
            name="tests.site.tasks.send_mail",
            args='["bob"]',
            kwargs='{"subject": "hi"}',
            options='{"ignore_result": true}',
            queue="mail",
            priority=5,
            created=0,
            claimed=0,
        )
        assert claimed.created < before <= claimed.claimed <= after

    def test_a_claim_leaves_a_lease_that_names_worker_and_attempt(self, session, worker):
        noop.delay()
        (claimed,) = claim_all(session, worker)
        assert session(held_by, worker) == [(claimed.id, 1)]
        assert RunningTask.objects.get().claimed_at.timestamp() == pytest.approx(claimed.claimed, abs=1e-3)
        assert session.places() == {claimed.id: "running"}

    def test_nothing_below_the_floor_of_a_lane_is_looked_at(self, session, worker):
        enqueue(5)
        seqs = list(ReadyTask.objects.order_by("seq").values_list("seq", flat=True))
        assert len(session(claim, worker, [DEFAULT._replace(floor=seqs[3])], 10)) == 2
        assert len(session(claim, worker, [DEFAULT._replace(floor=seqs[0])], 10)) == 3

    def test_a_row_in_line_whose_task_was_deleted_by_hand_disappears(self, session, worker):
        doomed, kept = enqueue(2)
        session.sql("DELETE FROM djqueue_task WHERE id = %s", doomed)
        assert ids(claim_all(session, worker)) == [kept]
        assert session.places() == {kept: "running"}

    def test_the_setting_under_which_a_claim_commits_ends_with_it(self, session, worker):
        session.sql("SET synchronous_commit = local")
        enqueue(1)
        assert len(claim_all(session, worker)) == 1
        assert session.value("SHOW synchronous_commit") == "local"

    def test_racing_claims_never_get_the_same_task_and_miss_none(self, connect, runner):
        """Six workers, 5,000 tasks, batches of all sizes."""
        enqueue(5000)
        sessions = [connect() for _ in range(6)]
        workers = {session.new_worker(): session for session in sessions}

        async def drain(worker: int, connection: psycopg.AsyncConnection) -> list[str]:
            sizes = random.Random(worker)
            mine: list[str] = []
            while claims := await claim(connection, worker, [DEFAULT], sizes.randint(1, 40)):
                mine += ids(claims)
            return mine

        async def race() -> list[list[str]]:
            return await asyncio.gather(*(drain(w, s.connection) for w, s in workers.items()))

        shares = runner.run(race())
        claimed = [task_id for share in shares for task_id in share]
        assert len(claimed) == len(set(claimed)) == 5000
        assert sum(1 for share in shares if share) > 1
        for worker, share in zip(workers, shares, strict=True):
            assert share == sorted(share), "each worker sees the line in order"
            assert sorted(share) == sorted(task_id for task_id, _ in sessions[0](held_by, worker))


class TestSettle:
    @pytest.fixture
    def claimed(self, session, worker) -> Claim:
        add.delay(1, 2)
        (claimed,) = claim_all(session, worker)
        return claimed

    def test_a_success_stores_its_value_and_ends_the_lease(self, session, worker, claimed):
        outcome = Outcome.succeeded(claimed.id, 1, '{"sum": [3, null, "é\\n\\\\"]}', NOW + 0.25, NOW + 1)
        assert session(settle, worker, "worker-7", [outcome]) == {claimed.id}
        result = TaskResult.objects.get()
        assert (result.state, result.value, result.error) == (
            State.SUCCEEDED,
            {"sum": [3, None, "é\n\\"]},
            None,
        )
        assert (result.attempt, result.worker) == (1, "worker-7")
        assert (result.started_at.timestamp(), result.finished_at.timestamp()) == (NOW + 0.25, NOW + 1)
        assert session.places() == {claimed.id: "succeeded"}
        assert not TaskAttempt.objects.exists()

    def test_a_value_of_none_is_stored_as_null(self, session, worker, claimed):
        session(settle, worker, "w", [succeeded(claimed, None)])
        assert session.value("SELECT value IS NULL FROM djqueue_taskresult")

    @pytest.mark.parametrize("value", [False, 0, "", [], {}, "null", [None]])
    def test_a_value_that_is_merely_false_is_kept(self, session, worker, claimed, value):
        session(settle, worker, "w", [succeeded(claimed, value)])
        assert TaskResult.objects.get().value == value

    def test_a_failure_stores_its_error_and_remembers_the_attempt(self, session, worker, claimed):
        assert session(settle, worker, "w", [failed(claimed)]) == {claimed.id}
        result, attempt = TaskResult.objects.get(), TaskAttempt.objects.get()
        assert (result.state, result.value) == (State.FAILED, None)
        assert result.error == attempt.error == json.loads(ERROR)
        assert (str(attempt.task_id), attempt.attempt, attempt.outcome) == (claimed.id, 1, Ending.FAILED)
        assert attempt.finished_at == result.finished_at

    def test_a_cancelled_task_has_neither_value_nor_error(self, session, worker, claimed):
        outcome = Outcome(claimed.id, 1, Ending.CANCELLED, finished=NOW)
        session(settle, worker, "w", [outcome])
        result = TaskResult.objects.get()
        assert (result.state, result.value, result.error) == (State.CANCELLED, None, None)
        assert result.started_at is None

    def test_a_forgotten_task_leaves_nothing(self, session, worker, claimed):
        session(lose, worker, "w", [lost(claimed)], 3)
        (again,) = claim_all(session, worker)
        assert session(settle, worker, "w", [Outcome.forgotten(again.id, 2, NOW, NOW)]) == {claimed.id}
        assert session.places() == {}
        assert not Task.objects.exists()
        assert not TaskAttempt.objects.exists()

    def test_outcomes_of_all_kinds_go_in_one_batch(self, session, worker):
        enqueue(4)
        one, two, three, four = claim_all(session, worker)
        outcomes = [
            succeeded(four, "four"),
            failed(one),
            Outcome.forgotten(three.id, 1, NOW, NOW),
            Outcome(two.id, 1, Ending.CANCELLED, finished=NOW),
        ]
        assert session(settle, worker, "w", outcomes) == {one.id, two.id, three.id, four.id}
        assert session.places() == {one.id: "failed", two.id: "cancelled", four.id: "succeeded"}
        assert TaskResult.objects.get(task_id=four.id).value == "four"
        assert TaskResult.objects.get(task_id=one.id).error == json.loads(ERROR)

    def test_an_outcome_of_another_worker_changes_nothing(self, session, worker, claimed):
        assert session(settle, worker + 1, "w", [succeeded(claimed)]) == set()
        assert session.places() == {claimed.id: "running"}

    @pytest.mark.parametrize("attempt", [0, 2])
    def test_an_outcome_of_another_attempt_changes_nothing(self, session, worker, claimed, attempt):
        assert session(settle, worker, "w", [succeeded(claimed._replace(attempt=attempt))]) == set()
        assert session.places() == {claimed.id: "running"}

    def test_an_outcome_that_comes_twice_changes_nothing_the_second_time(self, session, worker, claimed):
        session(settle, worker, "w", [succeeded(claimed, "first")])
        assert session(settle, worker, "w", [failed(claimed)]) == set()
        assert session(settle, worker, "w", [Outcome.forgotten(claimed.id, 1, NOW, NOW)]) == set()
        assert TaskResult.objects.get().value == "first"

    def test_a_late_outcome_of_a_reclaimed_task_is_void_even_for_the_same_worker(self, session, worker, claimed):
        session(lose, worker, "w", [lost(claimed)], 3)
        (again,) = claim_all(session, worker)
        assert again.attempt == 2
        assert session(settle, worker, "w", [succeeded(claimed, "late")]) == set()
        assert session(settle, worker, "w", [succeeded(again, "in time")]) == {claimed.id}
        assert TaskResult.objects.get().value == "in time"

    def test_a_void_outcome_does_not_hold_up_the_others(self, session, worker):
        enqueue(3)
        claims = claim_all(session, worker)
        void = succeeded(claims[1]._replace(attempt=9))
        unknown = Outcome.succeeded(UNKNOWN, 1, "1", NOW, NOW)
        outcomes = [succeeded(claims[0], "a"), void, unknown, succeeded(claims[2], "c")]
        assert session(settle, worker, "w", outcomes) == {claims[0].id, claims[2].id}
        assert list(TaskResult.objects.order_by("task_id").values_list("value", flat=True)) == ["a", "c"]

    def test_a_value_that_postgresql_refuses_stores_none_of_the_batch(self, session, worker):
        enqueue(2)
        good, bad = claim_all(session, worker)
        broken = Outcome.succeeded(bad.id, 1, '"\\u0000"', NOW, NOW)
        with pytest.raises(psycopg.DataError):
            session(settle, worker, "w", [succeeded(good), broken])
        assert set(session.places().values()) == {"running"}

    def test_settling_nothing_is_allowed(self, session, worker):
        assert session(settle, worker, "w", []) == set()
        assert session(release, worker, []) == set()
        assert session(lose, worker, "w", [], 3) == {}

    @pytest.mark.parametrize("other_verb", ["settle", "release", "lose"])
    def test_a_batch_locks_in_one_order_whatever_order_it_is_given_in(self, connect, runner, other_verb):
        """Two batches wait in the middle of the same tasks; if they came from both ends, neither could go on."""
        one, other, holder, observer = (connect() for _ in range(4))
        worker = one.new_worker()
        enqueue(3)
        claims = claim_all(one, worker)
        upwards, downwards = claims, claims[::-1]
        verbs = {
            "settle": lambda: settle(other.connection, worker, "w", [succeeded(c) for c in downwards]),
            "release": lambda: release(other.connection, worker, [released(c) for c in downwards]),
            "lose": lambda: lose(other.connection, worker, "w", [lost(c) for c in downwards], 3),
        }

        async def race() -> list[Any]:
            await holder.connection.execute("BEGIN")
            await holder.connection.execute(
                "SELECT FROM djqueue_runningtask WHERE task_id = %s FOR UPDATE", (claims[1].id,)
            )
            batches = [asyncio.create_task(settle(one.connection, worker, "w", [failed(c) for c in upwards]))]
            await until_blocked(observer.connection)
            batches.append(asyncio.create_task(verbs[other_verb]()))
            await until_blocked(observer.connection, 2)
            await holder.connection.execute("COMMIT")
            return await asyncio.gather(*batches)

        settled, too_late = runner.run(race())
        assert (settled, len(too_late)) == (set(ids(claims)), 0)

    def test_batches_that_share_tasks_in_any_order_do_not_deadlock(self, connect, runner):
        """Settling, releasing and losing the same 200 tasks at once: each task ends up with exactly one of them."""
        sessions = [connect() for _ in range(6)]
        worker = sessions[0].new_worker()
        for session in sessions:
            session.sql("SET deadlock_timeout = '50ms'")

        async def race(claims: list[Claim], shuffled: random.Random) -> list[set[str]]:
            def batch(outcome: Callable[[Claim], Outcome]) -> list[Outcome]:
                return [outcome(c) for c in shuffled.sample(claims, len(claims))]

            given_up = sessions[5].connection
            answers = await asyncio.gather(
                settle(sessions[0].connection, worker, "w", batch(succeeded)),
                release(sessions[1].connection, worker, batch(released)),
                settle(sessions[2].connection, worker, "w", batch(failed)),
                release(sessions[3].connection, worker, batch(released)),
                lose(sessions[4].connection, worker, "w", batch(lost), 100),
                lose(given_up, worker, "w", batch(lost), 1),
            )
            return [set(answer) for answer in answers]

        for seed in range(5):
            enqueue(200)
            claims = claim_all(sessions[0], worker)
            winners = runner.run(race(claims, random.Random(seed)))
            assert sorted(task_id for share in winners for task_id in share) == sorted(ids(claims))


class TestExchange:
    """Settling and claiming in one statement."""

    def test_it_settles_and_claims(self, session, worker):
        expected = enqueue(5)
        one, two = session(claim, worker, [DEFAULT], 2)
        settled, claims = session(exchange, worker, "w", [succeeded(two, "two"), failed(one)], [DEFAULT], 2)
        assert settled == {one.id, two.id}
        assert [(claimed.id, claimed.attempt) for claimed in claims] == [(expected[2], 1), (expected[3], 1)]
        assert json.loads(claims[0].args) == [2]
        places = session.places()
        assert [places[task_id] for task_id in expected] == [
            "failed", "succeeded", "running", "running", "ready",
        ]  # fmt: skip

    def test_a_void_outcome_does_not_hold_up_the_claim(self, session, worker):
        enqueue(2)
        (claimed,) = session(claim, worker, [DEFAULT], 1)
        settled, claims = session(exchange, worker, "w", [succeeded(claimed._replace(attempt=2))], [DEFAULT], 5)
        assert (settled, len(claims)) == (set(), 1)

    def test_a_value_that_postgresql_refuses_leaves_everything_as_it_is(self, session, worker):
        enqueue(2)
        (claimed,) = session(claim, worker, [DEFAULT], 1)
        broken = Outcome.succeeded(claimed.id, 1, '"\\u0000"', NOW, NOW)
        with pytest.raises(psycopg.DataError):
            session(exchange, worker, "w", [broken], [DEFAULT], 5)
        assert sorted(session.places().values()) == ["ready", "running"]


class TestRelease:
    def test_a_released_task_goes_to_the_end_of_its_line_and_its_attempt_does_not_count(self, session, worker):
        expected = enqueue(3)
        first = session(claim, worker, [DEFAULT], 1)
        assert session(release, worker, [released(first[0])]) == {expected[0]}
        again = claim_all(session, worker)
        assert ids(again) == [expected[1], expected[2], expected[0]]
        assert [claimed.attempt for claimed in again] == [1, 1, 1]
        assert not TaskAttempt.objects.exists()

    def test_a_task_is_released_to_its_own_lane(self, session, worker):
        send_mail.delay("bob")
        session(release, worker, [released(*claim_all(session, worker, MAIL))])
        assert (ReadyTask.objects.get().queue, ReadyTask.objects.get().priority) == ("mail", 5)

    def test_what_the_worker_does_not_hold_stays_as_it_is(self, session, worker):
        enqueue(1)
        (claimed,) = claim_all(session, worker)
        assert session(release, worker + 1, [released(claimed)]) == set()
        assert session(release, worker, [released(claimed._replace(attempt=2))]) == set()
        assert session.places() == {claimed.id: "running"}


class TestLose:
    def test_a_lost_attempt_goes_back_in_line_is_counted_and_remembered(self, session, worker):
        (task_id,) = enqueue(1)
        assert session(lose, worker, "w", [lost(*claim_all(session, worker))], 3) == {task_id: False}
        assert session.places() == {task_id: "ready"}
        attempt = TaskAttempt.objects.get()
        assert (attempt.attempt, attempt.outcome, attempt.worker) == (1, Ending.LOST, "w")
        assert attempt.started_at <= attempt.finished_at
        assert isinstance(decode_error(json.dumps(attempt.error)), WorkerLostError)
        assert claim_all(session, worker)[0].attempt == 2

    @pytest.mark.parametrize("limit", [1, 2, 3])
    def test_a_task_that_was_lost_too_often_fails(self, session, worker, limit):
        (task_id,) = enqueue(1)
        for _ in range(limit - 1):
            assert session(lose, worker, "w", [lost(*claim_all(session, worker))], limit) == {task_id: False}
        assert session(lose, worker, "w", [lost(*claim_all(session, worker))], limit) == {task_id: True}
        assert session.places() == {task_id: "failed"}
        result = TaskResult.objects.get()
        assert (result.attempt, result.error) == (limit, json.loads(ERROR))
        assert list(TaskAttempt.objects.order_by("attempt").values_list("attempt", "outcome")) == [
            (number + 1, Ending.LOST) for number in range(limit)
        ]

    def test_releases_in_between_do_not_count(self, session, worker):
        (task_id,) = enqueue(1)
        session(lose, worker, "w", [lost(*claim_all(session, worker))], 2)
        for _ in range(5):
            session(release, worker, [released(*claim_all(session, worker))])
        (claimed,) = claim_all(session, worker)
        assert claimed.attempt == 2
        assert session(lose, worker, "w", [lost(claimed)], 2) == {task_id: True}

    def test_each_task_of_a_batch_is_judged_by_itself(self, session, worker):
        fragile, fresh = enqueue(2)
        session(lose, worker, "w", [lost(c) for c in session(claim, worker, [DEFAULT], 1)], 2)
        claims = claim_all(session, worker)
        assert session(lose, worker, "w", [lost(c) for c in claims], 2) == {fragile: True, fresh: False}
        assert session.places() == {fragile: "failed", fresh: "ready"}

    def test_what_the_worker_does_not_hold_stays_as_it_is(self, session, worker):
        enqueue(1)
        (claimed,) = claim_all(session, worker)
        assert session(lose, worker + 1, "w", [lost(claimed)], 1) == {}
        assert session(lose, worker, "w", [lost(claimed._replace(attempt=2))], 1) == {}
        assert session.places() == {claimed.id: "running"}
        assert not TaskAttempt.objects.exists()


class TestHeartbeatAndReclaim:
    def test_a_heartbeat_renews_the_lease_and_reports(self, session):
        worker = session.new_worker(lease=0.0)
        session(heartbeat, worker, 60.0, Counts(1, 2, 3, 4), draining=True)
        row = Worker.objects.get()
        assert (row.running, row.succeeded, row.failed, row.lost, row.draining) == (1, 2, 3, 4, True)
        assert 55 < (row.lease_until - row.heartbeat_at).total_seconds() <= 60.1
        assert session(reclaim, 3) == []

    def test_a_heartbeat_says_whether_a_worker_is_overdue(self, session, worker):
        assert session(heartbeat, worker, 60.0, Counts()).expired is False
        session.new_worker("late", lease=-1)
        assert session(heartbeat, worker, 60.0, Counts()).expired is True

    def test_a_heartbeat_tells_the_time_of_the_database(self, session, worker):
        clock = "SELECT extract(epoch FROM clock_timestamp())::float"
        before = session.value(clock)
        assert before < session(heartbeat, worker, 60.0, Counts()).epoch < session.value(clock)

    def test_a_worker_whose_tasks_were_reclaimed_learns_it_from_its_heartbeat(self, session):
        worker = session.new_worker(lease=-1)
        session(reclaim, 3)
        assert session(heartbeat, worker, 60.0, Counts()) is None
        assert not Worker.objects.exists()

    def test_a_worker_that_leaves_takes_its_row_along(self, session, worker):
        session(leave, worker)
        assert not Worker.objects.exists()

    def test_a_worker_that_leaves_while_it_holds_tasks_is_reclaimed_at_once(self, session, worker):
        (task_id,) = enqueue(1)
        claim_all(session, worker)
        session(leave, worker)
        assert session.places() == {task_id: "running"}
        assert session(reclaim, 3) == [("worker", 1, 0)]
        assert session.places() == {task_id: "ready"}

    def test_the_tasks_of_an_overdue_worker_run_again_and_its_row_goes(self, session, worker):
        late = session.new_worker("late", lease=-1)
        expected = enqueue(3)
        session(claim, late, [DEFAULT], 2)
        session(claim, worker, [DEFAULT], 1)
        assert session(reclaim, 3) == [("late", 2, 0)]
        assert session.places() == {expected[0]: "ready", expected[1]: "ready", expected[2]: "running"}
        assert list(Worker.objects.values_list("id", flat=True)) == [worker]
        assert [claimed.attempt for claimed in claim_all(session, worker)] == [2, 2]

    def test_the_error_of_a_reclaimed_attempt_names_the_worker(self, session):
        late = session.new_worker("late", lease=-1)
        enqueue(1)
        claim_all(session, late)
        assert session(reclaim, 1) == [("late", 0, 1)]
        error = decode_error(json.dumps(TaskResult.objects.get().error))
        assert isinstance(error, WorkerLostError)
        assert "worker late did not renew its lease, which ran out 1." in str(error)

    def test_all_overdue_workers_are_given_up_each_in_its_own_transaction(self, session, monkeypatch):
        monkeypatch.setattr(reclaiming, "BATCH", 2)
        expected = enqueue(7)
        for name in ("one", "two", "three"):
            session(claim, session.new_worker(name, lease=-1), [DEFAULT], 3)
        assert session(reclaim, 3) == [("one", 3, 0), ("two", 3, 0), ("three", 1, 0)]
        assert session.places() == dict.fromkeys(expected, "ready")

    def test_a_late_outcome_of_a_reclaimed_worker_is_void(self, session, worker):
        """Stop, reclaim, continue."""
        late = session.new_worker("late", lease=-1)
        enqueue(1)
        (stale,) = claim_all(session, late)
        session(reclaim, 3)
        (fresh,) = claim_all(session, worker)
        assert session(settle, late, "late", [succeeded(stale, "late")]) == set()
        assert session(settle, worker, "w", [succeeded(fresh, "fresh")]) == {fresh.id}
        assert session(settle, late, "late", [failed(stale)]) == set()
        assert TaskResult.objects.get().value == "fresh"

    def test_a_heartbeat_that_comes_first_saves_an_overdue_worker(self, connect, runner):
        """The heartbeat holds the row; reclaiming passes over it, and finds it renewed afterwards."""
        one, other = connect(), connect()
        late = one.new_worker("late", lease=-1)
        one.sql("BEGIN")
        one(heartbeat, late, 60.0, Counts())
        assert other(reclaim, 3) == []
        one.sql("COMMIT")
        assert other(reclaim, 3) == []
        assert Worker.objects.count() == 1

    def test_a_heartbeat_that_comes_second_waits_and_learns_that_the_lease_is_lost(self, connect, runner):
        one, other, observer = connect(), connect(), connect()
        late = one.new_worker("late", lease=-1)
        enqueue(1)
        claim_all(one, late)
        other.sql("BEGIN")
        other(reclaim, 3)

        async def race() -> Any:
            beating = asyncio.create_task(heartbeat(one.connection, late, 60.0, Counts()))
            await until_blocked(observer.connection)
            await other.connection.execute("COMMIT")
            return await beating

        assert runner.run(race()) is None
        assert set(one.places().values()) == {"ready"}

    def test_two_reclaimers_give_up_each_worker_once(self, connect, runner):
        one, other = connect(), connect()
        enqueue(50)
        names = [f"late {number}" for number in range(10)]
        for name in names:
            one(claim, one.new_worker(name, lease=-1), [DEFAULT], 5)

        async def race() -> Any:
            return await asyncio.gather(reclaim(one.connection, 3), reclaim(other.connection, 3))

        mine, theirs = runner.run(race())
        assert sorted(reclaimed.worker for reclaimed in mine + theirs) == sorted(names)
        assert sum(reclaimed.requeued for reclaimed in mine + theirs) == 50
        assert set(one.places().values()) == {"ready"}

    def test_a_worker_without_a_row_is_given_nothing(self, session, worker):
        ids = enqueue(3)
        session.sql("DELETE FROM djqueue_worker WHERE id = %s", worker)
        assert session(claim, worker, [DEFAULT], 2) == []
        assert session.places() == dict.fromkeys(ids, "ready")

    def test_leases_whose_worker_has_no_row_are_reclaimed(self, session, worker):
        expected = enqueue(3)
        gone = session(register, WorkerRow("gone", "host", 1, "*", "processes", 1, "0", 20.0))
        session(claim, gone, [DEFAULT], 2)
        session.sql("DELETE FROM djqueue_worker WHERE id = %s", gone)
        session(claim, worker, [DEFAULT], 1)
        assert session(reclaim, 3) == []
        assert session(reclaim_orphaned, 3) == [(f"#{gone}", 2, 0)]
        assert session(reclaim_orphaned, 3) == []
        assert session.places() == {expected[0]: "ready", expected[1]: "ready", expected[2]: "running"}
        error = decode_error(json.dumps(TaskAttempt.objects.first().error))
        assert str(error) == f"worker {gone} has no row"


class TestPromote:
    def due(self, session: Session, task_id: str, seconds: float) -> None:
        """Make a scheduled task due so many seconds from now."""
        session.sql(
            "UPDATE djqueue_scheduledtask SET run_at = statement_timestamp() + make_interval(secs => %s)"
            " WHERE task_id = %s",
            seconds,
            task_id,
        )

    def scheduled(self, session: Session, *seconds: float) -> list[str]:
        made = []
        for wait in seconds:
            made.append(echo.apply_async((wait,), countdown=1000).id)
            self.due(session, made[-1], wait)
        return made

    def test_due_tasks_get_in_line_the_earliest_first(self, session, worker):
        third, first, later, second = self.scheduled(session, -10, -30, 50, -20)
        assert session(promote)[0] == 3
        assert ids(claim_all(session, worker)) == [first, second, third]
        assert session.places()[later] == "scheduled"

    def test_it_says_when_to_come_back(self, session):
        assert session(promote) == (0, None)
        self.scheduled(session, 50, 30, 40)
        promoted, next_in = session(promote)
        assert promoted == 0
        assert 25 < next_in <= 30

    def test_no_more_than_the_limit_at_once(self, session):
        self.scheduled(session, *range(-5, 0))
        assert [session(promote, 2)[0] for _ in range(4)] == [2, 2, 1, 0]
        assert promoting.BATCH == 2000

    def test_a_task_goes_to_its_own_lane_with_its_attempt(self, session, worker):
        task_id = send_mail.apply_async(("bob",), countdown=1000).id
        ScheduledTask.objects.update(attempt=2, reason=ScheduleReason.RETRY)
        self.due(session, task_id, -1)
        session(promote)
        (claimed,) = claim_all(session, worker, MAIL)
        assert (claimed.id, claimed.attempt) == (task_id, 3)

    def test_promoters_side_by_side_promote_each_task_once(self, connect, runner):
        one, other = connect(), connect()
        self.scheduled(one, *range(-100, 0))

        async def drain(connection: psycopg.AsyncConnection) -> int:
            total = 0
            while number := (await promote(connection, 7))[0]:
                total += number
            return total

        async def race() -> list[int]:
            return await asyncio.gather(drain(one.connection), drain(other.connection))

        assert sum(runner.run(race())) == 100
        assert ReadyTask.objects.count() == 100
        assert not ScheduledTask.objects.exists()

    def test_a_promoted_task_gets_behind_those_in_line(self, session, worker):
        (delayed,) = self.scheduled(session, -1)
        (waiting,) = enqueue(1)
        session(promote)
        assert ids(claim_all(session, worker)) == [waiting, delayed]


class TestLanes:
    def test_every_lane_with_tasks_is_found_however_long_its_line(self, session):
        echo.delay_many(((number,), {}) for number in range(3000))
        for queue, priority in [
            ("default", 1),
            ("default", -100),
            ("mail", 5),
            ("a", 0),
            ("ä".encode().hex(), 100),
        ]:
            noop.apply_async(queue=queue, priority=priority)
        found = session(lanes.discover, [])
        assert sorted(found) == sorted(
            Lane(queue, priority) for queue, priority in ReadyTask.objects.values_list("queue", "priority").distinct()
        )
        assert len(found) == 6

    def test_lanes_that_are_known_are_not_told_again(self, session):
        noop.delay()
        send_mail.delay("bob")
        assert session(lanes.discover, [("default", 0)]) == [MAIL]
        assert session(lanes.discover, [("default", 0), ("mail", 5), ("gone", 3)]) == []

    def test_two_hundred_lanes_are_found(self, session):
        for number in range(200):
            noop.apply_async(queue=f"queue-{number % 20}", priority=number // 20)
        assert len(set(session(lanes.discover, []))) == 200

    def test_queue_names_of_all_allowed_characters_are_found(self, session):
        names = ["A", "Z", "_", "a", "a-", "a.", "a/", "a:", "a@", "a_", "z", "0", "9", "a" * 128]
        for name in names:
            noop.apply_async(queue=name)
        assert sorted(lane.queue for lane in session(lanes.discover, [])) == sorted(names)
        assert session(lanes.discover, [(name, 0) for name in names]) == []

    def test_a_queue_gets_a_row_when_its_first_task_is_found(self, session):
        noop.apply_async(queue="b")
        noop.apply_async(queue="a", priority=3)
        assert not Queue.objects.exists()
        session(lanes.discover, [])
        session(lanes.discover, [])
        assert sorted(Queue.objects.values_list("name", flat=True)) == ["a", "b"]

    def test_a_queue_is_paused_until_its_time_has_come(self, session):
        session.sql(
            "INSERT INTO djqueue_queue (name, paused_until) VALUES"
            " ('open', NULL), ('paused', 'infinity'), ('for an hour', now() + interval '1 hour'),"
            " ('over', now() - interval '1 second')"
        )
        assert {pause.name for pause in session(read_pauses)} == {"paused", "for an hour"}


class TestFloor:
    LANES = (DEFAULT, MAIL)

    def test_an_empty_lane_is_raised_to_the_cut_and_a_line_to_its_first_row(self, session, worker):
        enqueue(5)
        session(claim, worker, [DEFAULT], 3)
        cut = session(floor.cut)
        raised = session(floor.raise_floors, self.LANES, cut)
        first = ReadyTask.objects.order_by("seq").values_list("seq", flat=True)[0]
        assert raised == [DEFAULT._replace(floor=first), MAIL._replace(floor=cut.seq)]
        assert cut.writers == frozenset()
        assert len(claim_all(session, worker, *raised)) == 2

    def test_rows_above_the_cut_do_not_lower_it(self, session):
        cut = session(floor.cut)
        enqueue(2)
        assert session(floor.raise_floors, [DEFAULT], cut) == [DEFAULT._replace(floor=cut.seq)]

    def test_the_cut_of_an_unused_sequence_is_its_first_number(self, session):
        session.sql("ALTER SEQUENCE djqueue_readytask_seq RESTART")
        (before, _), (_task_id,) = session(floor.cut), enqueue(1)
        assert ReadyTask.objects.get().seq == before
        assert session(floor.cut).seq == before + 1

    def test_a_floor_is_not_raised_while_a_writer_that_may_be_below_the_cut_is_open(self, session, worker):
        with transaction.atomic():
            late = noop.delay()
            cut = session(floor.cut)
            assert len(cut.writers) == 1
            assert session(floor.raise_floors, [DEFAULT], cut) is None
        (raised,) = session(floor.raise_floors, [DEFAULT], cut)
        assert ids(claim_all(session, worker, raised)) == [late.id]

    def test_a_writer_that_rolls_back_frees_the_floor(self, session):
        with transaction.atomic():
            noop.delay()
            cut = session(floor.cut)
            transaction.set_rollback(True)
        assert session(floor.raise_floors, [DEFAULT], cut) == [DEFAULT._replace(floor=cut.seq)]

    def test_a_writer_that_began_after_the_cut_delays_nothing(self, session):
        cut = session(floor.cut)
        with transaction.atomic():
            noop.delay()
            assert session(floor.raise_floors, [DEFAULT], cut) == [DEFAULT._replace(floor=cut.seq)]

    def test_a_transaction_that_only_reads_delays_nothing_however_long_it_is_open(self, session, connect):
        reader = connect()
        enqueue(1)
        reader.sql("BEGIN ISOLATION LEVEL REPEATABLE READ")
        reader.sql("SELECT count(*) FROM djqueue_readytask")
        assert session(floor.cut).writers == frozenset()
        reader.sql("COMMIT")

    def test_released_lost_and_promoted_tasks_come_back_above_every_cut(self, session, worker):
        enqueue(2)
        noop.apply_async(countdown=-1)
        to_release, to_lose = claim_all(session, worker)
        cut = session(floor.cut)
        session(release, worker, [released(to_release)])
        session(lose, worker, "w", [lost(to_lose)], 3)
        session(promote)
        assert all(seq >= cut.seq for seq in ReadyTask.objects.values_list("seq", flat=True))
        assert ReadyTask.objects.count() == 3

    def test_no_row_is_ever_below_the_floor(self, connect, runner):
        """Writers that commit late or roll back, claimers that roll back or release, and one that raises the floor."""
        writers, claimers, keeper = [connect() for _ in range(4)], [connect() for _ in range(2)], connect()
        workers = [session.new_worker() for session in claimers]
        running, known = len(writers), [DEFAULT]
        enqueued: set[str] = set()
        settled: list[str] = []
        raised = 0

        async def write(connection: psycopg.AsyncConnection, dice: random.Random) -> None:
            nonlocal running
            for _ in range(60):
                pending: set[str] = set()
                await connection.execute("BEGIN")
                for _ in range(dice.randint(1, 4)):
                    cursor = await connection.execute(
                        "WITH task AS ("
                        " INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs)"
                        " VALUES (gen_random_uuid(), 'late', 'default', 0, '[]', '{}') RETURNING id)"
                        "INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)"
                        " SELECT 'default', 0, id, 0 FROM task RETURNING task_id::text"
                    )
                    pending.add((await cursor.fetchone())[0])
                    if dice.random() < 0.2:
                        await connection.execute("SELECT pg_sleep(%s)", (dice.random() * 0.02,))
                if dice.random() < 0.15:
                    await connection.execute("ROLLBACK")
                else:
                    enqueued.update(pending)
                    await connection.execute("COMMIT")
            running -= 1

        async def take(connection: psycopg.AsyncConnection, worker: int, dice: random.Random) -> None:
            while running or len(settled) < len(enqueued):
                await connection.execute("BEGIN")
                claims = await claim(connection, worker, known, dice.randint(1, 9))
                if claims and dice.random() < 0.1:
                    await connection.execute("ROLLBACK")
                    continue
                await connection.execute("COMMIT")
                if dice.random() < 0.1:
                    await release(connection, worker, [released(c) for c in claims])
                    continue
                settled.extend(await settle(connection, worker, "w", [succeeded(c) for c in claims]))
                if not claims:
                    await asyncio.sleep(0.001)

        async def keep(connection: psycopg.AsyncConnection) -> None:
            nonlocal known, raised
            while running or len(settled) < len(enqueued):
                cut = await floor.cut(connection)
                while (higher := await floor.raise_floors(connection, known, cut)) is None:  # noqa: ASYNC110
                    await asyncio.sleep(0.001)
                assert higher[0].floor >= known[0].floor, "a floor never sinks"
                raised += higher[0].floor > known[0].floor
                known = higher
                cursor = await connection.execute(
                    "SELECT count(*) FROM djqueue_readytask WHERE seq < %s", (known[0].floor,)
                )
                assert await cursor.fetchone() == (0,), "a row is below the floor, where no claim would find it"

        async def everything() -> None:
            async with asyncio.timeout(30):
                await asyncio.gather(
                    *(write(s.connection, random.Random(n)) for n, s in enumerate(writers)),
                    *(take(s.connection, w, random.Random(w)) for s, w in zip(claimers, workers, strict=True)),
                    keep(keeper.connection),
                )

        runner.run(everything())
        assert sorted(settled) == sorted(enqueued)
        assert raised > 10


class TestResults:
    def finish(self, session: Session, worker: int, number: int) -> list[str]:
        made = enqueue(number)
        session(settle, worker, "w", [succeeded(c) for c in claim_all(session, worker)])
        return made

    def aged(self, session: Session, task_id: str, seconds: float) -> None:
        session.sql(
            "UPDATE djqueue_taskresult SET finished_at = now() - make_interval(secs => %s) WHERE task_id = %s",
            seconds,
            task_id,
        )

    def test_pruning_deletes_what_is_older_than_it_need_be(self, session, worker):
        old, young, older = self.finish(session, worker, 3)
        self.aged(session, old, 100)
        self.aged(session, older, 1000)
        self.aged(session, young, 10)
        assert session(prune, {State.SUCCEEDED: 60.0}) == 2
        assert session.places() == {young: "succeeded"}
        assert [str(task_id) for task_id in Task.objects.values_list("id", flat=True)] == [young]

    def test_pruning_looks_at_one_state_only_and_takes_the_attempts_along(self, session, worker):
        enqueue(2)
        good, bad = claim_all(session, worker)
        session(settle, worker, "w", [succeeded(good), failed(bad)])
        for task_id in (good.id, bad.id):
            self.aged(session, task_id, 100)
        assert session(prune, {State.CANCELLED: 60.0}) == 0
        assert session(prune, {State.FAILED: 60.0}) == 1
        assert session.places() == {good.id: "succeeded"}
        assert not TaskAttempt.objects.exists()

    def test_pruning_takes_the_oldest_first_and_no_more_than_the_limit(self, session, worker):
        made = self.finish(session, worker, 5)
        for age, task_id in enumerate(made, start=100):
            self.aged(session, task_id, age)
        assert session(prune, {State.SUCCEEDED: 60.0}, 2) == 2
        assert set(session.places()) == set(made[:3])
        assert [session(prune, {State.SUCCEEDED: 60.0}, 2) for _ in range(3)] == [2, 1, 0]

    def test_pruning_leaves_unfinished_tasks_alone(self, session, worker):
        ready, running = enqueue(1), None
        session(claim, worker, [DEFAULT], 1)
        running = ready
        later = noop.apply_async(countdown=60).id
        waiting = enqueue(1)
        assert sum(session(prune, {state: -3600.0}) for state in (State.SUCCEEDED, State.FAILED, State.CANCELLED)) == 0
        assert session.places() == {running[0]: "running", later: "scheduled", waiting[0]: "ready"}

    def test_two_pruners_share_the_work(self, connect, runner):
        one, other = connect(), connect()
        worker = one.new_worker()
        for task_id in self.finish(one, worker, 100):
            self.aged(one, task_id, 100)

        async def drain(connection: psycopg.AsyncConnection) -> int:
            total = 0
            while number := await prune(connection, {State.SUCCEEDED: 60.0}, 9):
                total += number
            return total

        async def race() -> list[int]:
            return await asyncio.gather(drain(one.connection), drain(other.connection))

        assert sum(runner.run(race())) == 100
        assert not Task.objects.exists()

    def test_pruning_looks_at_several_states_at_once(self, session, worker):
        enqueue(3)
        good, bad, kept = claim_all(session, worker)
        session(settle, worker, "w", [succeeded(good), failed(bad), failed(kept)])
        self.aged(session, good.id, 100)
        self.aged(session, bad.id, 1000)
        self.aged(session, kept.id, 100)
        assert session(prune, {State.SUCCEEDED: 60.0, State.FAILED: 600.0}) == 2
        assert session.places() == {kept.id: "failed"}

    def test_pruning_does_not_wait_long_for_a_lock(self, session, worker):
        (old,) = self.finish(session, worker, 1)
        self.aged(session, old, 100)
        with transaction.atomic():
            Task.objects.select_for_update().get(pk=old)
            with pytest.raises(psycopg.errors.QueryCanceled):
                session(prune, {State.SUCCEEDED: 60.0})
        assert session(prune, {State.SUCCEEDED: 60.0}) == 1

    def test_forgetting_deletes_finished_tasks_only(self, session, worker):
        from django.db import connection

        finished = self.finish(session, worker, 2)
        unfinished = enqueue(1)
        with connection.cursor() as cursor:
            assert results.forget(cursor, [finished[0], *unfinished, UNKNOWN]) == 1
        assert session.places() == {finished[1]: "succeeded", unfinished[0]: "ready"}


class TestTheDatabaseRefuses:
    """What the constraints make impossible, whoever writes."""

    @pytest.mark.parametrize(
        "statement",
        [
            "UPDATE djqueue_task SET priority = 101",
            "UPDATE djqueue_task SET name = ''",
            "UPDATE djqueue_task SET queue = ''",
            "UPDATE djqueue_runningtask SET attempt = 0",
            "INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)"
            " SELECT now(), id, 0, 5 FROM djqueue_task",
        ],
    )
    def test_a_row_that_cannot_be(self, session, worker, statement):
        enqueue(1)
        claim_all(session, worker)
        with pytest.raises(psycopg.errors.CheckViolation):
            session.sql(statement)

    @pytest.mark.parametrize(
        ("state", "value", "error"),
        [(5, "1", "{}"), (6, None, None), (6, "1", "{}"), (7, "1", None), (4, None, None), (8, None, None)],
    )
    def test_a_result_whose_shape_contradicts_its_state(self, session, worker, state, value, error):
        with pytest.raises(psycopg.errors.CheckViolation):
            session.sql(
                "INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, value, error, finished_at)"
                " VALUES (%s, %s, 1, 'w', %s, %s, now())",
                UNKNOWN,
                state,
                value,
                error,
            )

    def test_a_task_that_runs_twice_at_once(self, session, worker):
        enqueue(1)
        claim_all(session, worker)
        with pytest.raises(psycopg.errors.UniqueViolation):
            session.sql("INSERT INTO djqueue_runningtask SELECT * FROM djqueue_runningtask")


def test_each_table_says_in_the_database_what_it_is_for(db):
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT relname, obj_description(oid) FROM pg_class WHERE relkind = 'r' AND relname LIKE 'djqueue%%'"
        )
        comments = dict(cursor.fetchall())
    assert len(comments) == 26
    assert all(comments.values()), comments


def test_notes_of_cancellations_are_forgotten_when_they_have_done_their_work(session, worker):
    (running,) = enqueue(1)
    (held,) = claim_all(session, worker)
    unknown = AsyncResult("01a1fe88-64a4-7170-bbf4-181ba26bc4f7")
    assert [AsyncResult(running).revoke(), unknown.revoke()] == [False, False]
    session(forget_notes, 3600.0)
    assert CancelledTask.objects.count() == 2
    session(settle, worker, "w", [succeeded(held)])
    session(forget_notes, 3600.0)
    assert [str(note.task_id) for note in CancelledTask.objects.all()] == [unknown.id]
    session(forget_notes, 0.0)
    assert not CancelledTask.objects.exists()
