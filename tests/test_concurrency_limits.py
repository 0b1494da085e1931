"""Concurrency limits in the store: who passes, who is parked, and that no slot is lost or held for nothing."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import psycopg
import pytest
from django.db import connection as django_connection
from django.db import transaction

from djqueue import chain, control, shared_task
from djqueue.doctor import check_invariants
from djqueue.models import ConcurrencySlot, ParkedTask, ReadyTask, StreamTicket, Task
from djqueue.records import Claim, Lane, Outcome
from djqueue.results import AsyncResult
from djqueue.store.claim import CLAIM, claim, claim_parameters
from djqueue.store.conclude import conclude
from djqueue.store.exchange import exchange
from djqueue.store.gates import admit
from djqueue.store.lose import lose
from djqueue.store.patrol import let_expired_go, patrol
from djqueue.store.promote import promote
from djqueue.store.reclaim import reclaim
from djqueue.store.release import release
from djqueue.store.repair import repair
from djqueue.store.resume import resume
from djqueue.store.retry import retry
from djqueue.worker.lookout import Lookout
from djqueue.worker.queues import QueueSelection

from .conftest import DEFAULT, Session, until_blocked
from .site.cluster_limits import in_order, one_at_a_time, three_at_a_time, two_at_a_time, two_of_a_name
from .site.tasks import noop

FRONT = Lane("default!", 0)
LANES = [FRONT, DEFAULT]
NOW = 1_800_000_000.0
LOST = '{"exc_type": "WorkerLostError"}'


def ids(claims: list[Claim]) -> list[str]:
    return [claimed.id for claimed in claims]


def succeeded(claimed: Claim) -> Outcome:
    return Outcome.succeeded(claimed.id, claimed.attempt, "null", NOW, NOW + 1)


def retried(claimed: Claim, countdown: float) -> Outcome:
    plan = json.dumps({"countdown": countdown})
    return Outcome.retried(claimed.id, claimed.attempt, '{"exc_type": "E"}', NOW, NOW + 1, plan)


def held() -> dict[str, int]:
    """Return the number of the slot that each task holds."""
    return {str(slot.task_id): slot.number for slot in ConcurrencySlot.objects.all()}


class TestClaims:
    def test_as_many_start_as_the_limit_allows_and_the_others_are_parked(self, session, worker):
        tasks = [two_at_a_time.delay(7).id for _ in range(5)]
        claims = session(claim, worker, LANES, 10)
        assert ids(claims) == tasks[:2]
        assert claims.parked == {FRONT}
        assert all(claimed.holds_slot for claimed in claims)
        assert held() == {tasks[0]: 1, tasks[1]: 2}
        assert session.places() == dict.fromkeys(tasks[:2], "running") | dict.fromkeys(tasks[2:], "parked")
        assert Task.objects.parked().count() == 3
        assert session(claim, worker, LANES, 10) == []

    def test_a_worker_that_parked_a_task_knows_where_it_will_stand(self, session, worker):
        """Whoever gives the slot back need not serve its queue, so nobody may tell it."""
        one_at_a_time.delay(7)
        session(claim, worker, LANES, 10)
        waiting = one_at_a_time.apply_async((7,), queue="mail", priority=3)
        found = session(claim, worker, [Lane("mail", 3)], 10)
        lookout = Lookout(QueueSelection(["mail"]), poll_max=1.0)
        lookout.parked(found.parked)
        assert lookout.lanes() == [Lane("mail!", 3)]
        assert waiting.state == "PENDING"

    def test_another_key_and_plain_tasks_are_not_held_up(self, session, worker):
        first, parked, other = (one_at_a_time.delay(key).id for key in (1, 1, 2))
        plain = noop.delay().id
        assert set(ids(session(claim, worker, LANES, 10))) == {first, other, plain}
        assert session.places()[parked] == "parked"

    def test_a_claim_takes_no_more_than_was_wanted(self, session, worker):
        tasks = [three_at_a_time.apply_async((1,), priority=0).id for _ in range(5)]
        assert ids(session(claim, worker, LANES, 2)) == tasks[:2]
        assert ids(session(claim, worker, LANES, 2)) == tasks[2:3]

    def test_a_slot_is_handed_on_in_the_transaction_in_which_its_holder_is_settled(self, session, worker):
        tasks = [one_at_a_time.delay(7).id for _ in range(3)]
        (first,) = session(claim, worker, LANES, 10)
        assert session(conclude, worker, "w", [succeeded(first)]) == {first.id}
        assert held() == {tasks[1]: 1}
        assert session.places() == {tasks[0]: "succeeded", tasks[1]: "ready", tasks[2]: "parked"}
        (second,) = session(claim, worker, LANES, 10)
        settled, claims = session(exchange, worker, "w", [succeeded(second)], LANES, 10, concluding=True)
        assert settled == {second.id}
        assert ids(claims) == tasks[2:]

    def test_who_was_parked_goes_before_who_comes_later(self, session, worker):
        first, parked = one_at_a_time.delay(7).id, one_at_a_time.delay(7).id
        (claimed,) = session(claim, worker, LANES, 10)
        late = one_at_a_time.delay(7).id
        session(conclude, worker, "w", [succeeded(claimed)])
        assert claimed.id == first
        assert ids(session(claim, worker, LANES, 10)) == [parked]
        assert session.places()[late] == "parked"

    def test_the_higher_priority_passes_first(self, session, worker):
        lanes = [Lane("default!", 9), Lane("default", 9), *LANES]
        first, low = one_at_a_time.delay(7).id, one_at_a_time.delay(7).id
        (claimed,) = session(claim, worker, lanes, 10)
        high = one_at_a_time.apply_async((7,), priority=9).id
        session(claim, worker, lanes, 10)
        session(conclude, worker, "w", [succeeded(claimed)])
        assert held() == {high: 1}
        assert session.places() == {first: "succeeded", low: "parked", high: "ready"}

    def test_who_passed_goes_to_the_front_of_the_line(self, session, worker):
        """Or a key would advance by one task each time that a long line has gone by."""
        _first, parked = one_at_a_time.delay(7).id, one_at_a_time.delay(7).id
        (claimed,) = session(claim, worker, LANES, 10)
        noop.delay_many(((), {}) for _ in range(10))
        session(conclude, worker, "w", [succeeded(claimed)])
        assert ids(session(claim, worker, LANES, 1)) == [parked]

    def test_tasks_of_several_queues_share_a_key(self, session, worker):
        tasks = [one_at_a_time.apply_async((7,), queue=queue).id for queue in ("a", "b")]
        (first,) = session(claim, worker, [Lane("a", 0), Lane("b", 0)], 10)
        session(conclude, worker, "w", [succeeded(first)])
        assert ReadyTask.objects.get().queue == "b!"
        assert ids(session(claim, worker, [Lane("b!", 0), Lane("b", 0)], 10)) == tasks[1:]

    def test_without_a_key_the_limit_is_one_of_the_task(self, session, worker):
        two_of_a_name.delay_many(((), {}) for _ in range(5))
        assert len(session(claim, worker, LANES, 10)) == 2

    def test_of_tasks_with_several_limits_for_one_key_each_keeps_its_own(self, session, worker):
        tasks = [three_at_a_time.apply_async((1,), priority=0).id for _ in range(2)]
        assert ids(session(claim, worker, LANES, 10)) == tasks
        tight = one_at_a_time.delay(1).id
        assert session(claim, worker, LANES, 10) == []
        assert session.places()[tight] == "parked"


class TestRaces:
    def test_a_task_that_is_parked_while_the_slot_is_freed_is_not_left_behind(self, connect):
        """The settling transaction cannot see it, so the look on its behalf must wait for the other's end."""
        settling, claiming = connect(), connect()
        worker = settling.new_worker()
        first, second = one_at_a_time.delay(7).id, one_at_a_time.delay(7).id
        (claimed,) = settling(claim, worker, LANES, 1)
        assert claimed.id == first

        async def race() -> list[Claim]:
            async with settling.connection.transaction():
                await conclude(settling.connection, worker, "w", [succeeded(claimed)])
                claims = asyncio.create_task(claim(claiming.connection, worker, LANES, 1))
                await until_blocked(settling.connection)
            return list(await claims)

        assert ids(settling.runner.run(race())) == [second]

    def test_of_many_claimers_no_more_than_the_limit_pass(self, connect):
        sessions = [connect() for _ in range(8)]
        worker = sessions[0].new_worker()
        three_at_a_time.delay_many(((1,), {}) for _ in range(40))
        lanes = [Lane("default!", 5), Lane("default", 5)]

        async def race() -> list[list[Claim]]:
            return await asyncio.gather(*(claim(each.connection, worker, lanes, 5) for each in sessions))

        assert sum(map(len, sessions[0].runner.run(race()))) == 3
        assert sorted(held().values()) == [1, 2, 3]

    def test_batches_with_many_keys_do_not_wait_for_each_other_in_a_circle(self, connect):
        sessions = [connect() for _ in range(4)]
        worker = sessions[0].new_worker()
        one_at_a_time.delay_many(((key % 10,), {}) for key in range(400))

        async def work(session: Session) -> int:
            done, batch = 0, []
            for _ in range(200):
                settled, claims = await exchange(
                    session.connection, worker, "w", list(map(succeeded, batch)), LANES, 20, concluding=True
                )
                done += len(settled)
                batch = list(claims)
                if not batch and not await _left(session):
                    break
            return done

        async def _left(session: Session) -> bool:
            cursor = await session.connection.execute("SELECT count(*) < 400 FROM djqueue_taskresult")
            return bool((await cursor.fetchone())[0])  # type: ignore[index]

        async def race() -> list[int]:
            return await asyncio.gather(*map(work, sessions))

        assert sum(sessions[0].runner.run(race())) == 400


class TestSlotsComeBack:
    @pytest.fixture
    def claimed(self, session: Session, worker: int) -> Claim:
        one_at_a_time.delay(7)
        self.next = one_at_a_time.delay(7).id
        (claimed,) = session(claim, worker, LANES, 10)
        return claimed

    def test_when_an_attempt_is_lost(self, session, worker, claimed):
        assert session(lose, worker, "w", [Outcome.lost(claimed.id, 1, LOST, NOW)], 3) == {claimed.id: False}
        assert held() == {self.next: 1}

    def test_when_the_last_attempt_is_lost(self, session, worker, claimed):
        assert session(lose, worker, "w", [Outcome.lost(claimed.id, 1, LOST, NOW)], 1) == {claimed.id: True}
        assert held() == {self.next: 1}

    def test_when_a_worker_is_given_up(self, session):
        one_at_a_time.delay(7)
        parked = one_at_a_time.delay(7).id
        dead = session.new_worker("dead", lease=-1)
        (claimed,) = session(claim, dead, LANES, 10)
        assert session(reclaim, 3) == [("dead", 1, 0)]
        assert held() == {parked: 1}
        assert session.places()[claimed.id] == "ready"

    def test_when_an_attempt_is_released(self, session, worker, claimed):
        assert session(release, worker, [Outcome.released(claimed.id, 1)]) == {claimed.id}
        assert held() == {self.next: 1}
        assert ids(session(claim, worker, LANES, 10)) == [self.next]
        assert session.places()[claimed.id] == "parked"

    def test_when_an_attempt_waits_for_its_next(self, session, worker, claimed):
        assert session(retry, worker, "w", [retried(claimed, 60)]) == {claimed.id}
        assert held() == {self.next: 1}
        session.sql("UPDATE djqueue_scheduledtask SET run_at = now()")
        session(promote)
        (other,) = session(claim, worker, LANES, 10)
        assert session.places() == {self.next: "running", claimed.id: "parked"}
        session(conclude, worker, "w", [succeeded(other)])
        (again,) = session(claim, worker, LANES, 10)
        assert (again.id, again.attempt) == (claimed.id, 2)

    def test_when_a_task_that_has_passed_is_cancelled(self, session, worker, claimed):
        last = one_at_a_time.delay(7).id
        session(claim, worker, LANES, 10)
        session(conclude, worker, "w", [succeeded(claimed)])
        assert control.revoke(self.next) == {self.next}
        assert held() == {last: 1}
        assert session.places() == {claimed.id: "succeeded", self.next: "cancelled", last: "ready"}

    def test_when_a_parked_task_is_cancelled_others_are_not_touched(self, session, worker, claimed):
        assert control.revoke(self.next) == {self.next}
        assert session.places() == {claimed.id: "running", self.next: "cancelled"}
        assert held() == {claimed.id: 1}

    def test_a_cancellation_in_a_transaction_does_not_stop_the_key(self, session, worker, claimed):
        last = one_at_a_time.delay(7).id
        session(claim, worker, LANES, 10)
        session(conclude, worker, "w", [succeeded(claimed)])
        with transaction.atomic():
            assert control.revoke(self.next) == set()
            (second,) = session(claim, worker, LANES, 10)
            session(conclude, worker, "w", [succeeded(second)])
        assert session.places()[self.next] == "succeeded"
        assert held() == {last: 1}

    def test_a_late_outcome_frees_nothing(self, session, worker, claimed):
        session(lose, worker, "w", [Outcome.lost(claimed.id, 1, LOST, NOW)], 3)
        assert session(conclude, worker, "w", [succeeded(claimed)]) == set()
        assert held() == {self.next: 1}

    def test_an_expired_task_does_not_wait_for_its_turn(self, session, worker, claimed):
        late = one_at_a_time.apply_async((7,), expires=3600).id
        session(claim, worker, LANES, 10)
        assert session(let_expired_go) == 0
        session.sql("UPDATE djqueue_parkedtask SET expires_at = now() WHERE task_id = %s", late)
        assert session(let_expired_go) == 1
        assert session.places() == {claimed.id: "running", self.next: "parked", late: "ready"}
        assert ids(session(claim, worker, LANES, 10)) == [late]

    def test_a_row_deleted_in_the_admin_leaves_no_slot_for_ever(self, session, worker, claimed):
        Task.objects.get(id=claimed.id).delete()
        assert held() == {}
        session(patrol)
        assert held() == {self.next: 1}


class TestOrderedStreams:
    def test_tasks_run_in_the_order_of_their_calls_even_if_a_later_one_is_parked_first(self, connect):
        """Two workers take parts of the line, and the one that has the later part is faster."""
        slow, fast = connect(), connect()
        worker = slow.new_worker()
        tasks = [in_order.delay(1, number).id for number in range(4)]

        async def race() -> None:
            async with slow.connection.transaction():
                await slow.connection.execute(
                    f"SELECT * FROM {CLAIM.name}(%s, %s::text[], %s::smallint[], %s::bigint[], %s)",
                    claim_parameters(worker, [DEFAULT], 2),
                )
                assert await claim(fast.connection, worker, LANES, 10) == []
            await admit(slow.connection, ["stream stream:1"])

        slow.runner.run(race())
        done = []
        while claims := slow(claim, worker, LANES, 10):
            (claimed,) = claims
            done.append(claimed.id)
            slow(conclude, worker, "w", [succeeded(claimed)])
        assert done == tasks
        assert not StreamTicket.objects.exists()

    def test_a_task_that_is_retried_goes_before_those_that_follow(self, session, worker):
        first, second = in_order.delay(1, 1).id, in_order.delay(1, 2).id
        (claimed,) = session(claim, worker, LANES, 10)
        session(retry, worker, "w", [retried(claimed, 60)])
        assert held() == {first: 1}
        assert session(claim, worker, LANES, 10) == []
        session.sql("UPDATE djqueue_scheduledtask SET run_at = now()")
        session(promote)
        (again,) = session(claim, worker, LANES, 10)
        assert (again.id, again.attempt) == (first, 2)
        session(conclude, worker, "w", [succeeded(again)])
        assert ids(session(claim, worker, LANES, 10)) == [second]

    @pytest.mark.parametrize("how", ["lost", "released"])
    def test_a_task_whose_attempt_ended_by_itself_goes_before_those_that_follow(self, session, worker, how):
        first, _second = in_order.delay(1, 1).id, in_order.delay(1, 2).id
        (claimed,) = session(claim, worker, LANES, 10)
        if how == "lost":
            session(lose, worker, "w", [Outcome.lost(claimed.id, 1, LOST, NOW)], 3)
        else:
            session(release, worker, [Outcome.released(claimed.id, 1)])
        assert ids(session(claim, worker, LANES, 10)) == [first]

    def test_a_task_that_was_cancelled_does_not_stop_its_stream(self, session, worker):
        first, second, third = (in_order.delay(1, number).id for number in range(3))
        (claimed,) = session(claim, worker, LANES, 10)
        control.revoke(second)
        session(conclude, worker, "w", [succeeded(claimed)])
        assert ids(session(claim, worker, LANES, 10)) == [third]
        assert claimed.id == first

    def test_a_task_with_a_countdown_keeps_its_place(self, session, worker):
        first = in_order.apply_async((1, 1), countdown=60).id
        second = in_order.delay(1, 2).id
        assert session(claim, worker, LANES, 10) == []
        assert session.places() == {first: "scheduled", second: "parked"}
        session.sql("UPDATE djqueue_scheduledtask SET run_at = now()")
        session(promote)
        assert ids(session(claim, worker, LANES, 10)) == [first]

    def test_a_task_that_is_resumed_comes_last(self, session, worker):
        tasks = [in_order.delay(1, number).id for number in range(3)]
        (claimed,) = session(claim, worker, LANES, 10)
        session(conclude, worker, "w", [Outcome.failed(claimed.id, 1, '{"exc_type": "E"}', NOW, NOW)])
        with django_connection.cursor() as cursor:
            resume(cursor, tasks[0])
        done = []
        while claims := session(claim, worker, LANES, 10):
            done += ids(claims)
            session(conclude, worker, "w", list(map(succeeded, claims)))
        assert done == [tasks[1], tasks[2], tasks[0]]

    def test_bulk_and_workflows_have_their_places_too(self, session, worker):
        bulk = [result.id for result in in_order.delay_many(((1, number), {}) for number in range(3))]
        chained = chain(in_order.si(1, 3), in_order.si(1, 4)).apply_async()
        done = []
        while claims := session(claim, worker, LANES, 10):
            assert len(claims) == 1
            done += ids(claims)
            session(conclude, worker, "w", list(map(succeeded, claims)))
        assert isinstance(chained.parent, AsyncResult)
        assert done == [*bulk, chained.parent.id, chained.id]

    def test_an_insert_that_is_refused_draws_no_ticket(self, db):
        known = in_order.delay(1, 1).id
        with pytest.raises(ValueError, match="to be new"):
            in_order.apply_async((1, 2), task_id=known)
        assert StreamTicket.objects.count() == 1


class TestRepairs:
    def test_a_worker_that_died_between_parking_a_task_and_looking_for_it(self, session, worker):
        task = one_at_a_time.delay(7).id
        session.sql(
            f"SELECT * FROM {CLAIM.name}(%s, %s::text[], %s::smallint[], %s::bigint[], %s)",
            *claim_parameters(worker, [DEFAULT], 10),
        )
        assert session.places() == {task: "parked"}
        session.sql("UPDATE djqueue_parkedtask SET parked_at = parked_at - interval '1 hour'")
        assert [finding.check for finding in check_invariants()] == ["parked-beside-free-slot"]
        assert session(patrol) == ""
        assert ids(session(claim, worker, LANES, 10)) == [task]

    def test_a_slot_of_a_task_that_has_finished(self, session, worker):
        task, waiting = one_at_a_time.delay(7).id, one_at_a_time.delay(7).id
        session(claim, worker, LANES, 10)
        session.sql("DELETE FROM djqueue_runningtask")
        session.sql(
            "INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, finished_at)"
            " VALUES (%s, 5, 1, '', now())",
            task,
        )
        assert [finding.check for finding in check_invariants()] == ["slots-without-owner"]
        session(patrol)
        assert held() == {waiting: 1}

    def test_rows_that_contradict_a_parked_one(self, session, worker):
        """They keep the claim from parking the task, and are removed when PostgreSQL says so."""
        _first, second = one_at_a_time.delay(7).id, one_at_a_time.delay(7).id
        session(claim, worker, LANES, 10)
        session.sql(
            "INSERT INTO djqueue_readytask (queue, priority, task_id, attempt) VALUES ('default', 0, %s, 0)", second
        )
        with pytest.raises(psycopg.IntegrityError):
            session(claim, worker, LANES, 10)
        assert session(repair) == 1
        assert session.places()[second] == "parked"
        session.sql(
            "INSERT INTO djqueue_runningtask (task_id, attempt, worker_id, claimed_at) VALUES (%s, 1, %s, now())",
            second,
            worker,
        )
        assert session(repair) == 1
        assert session.places()[second] == "running"

    def test_it_goes_through_all_gates_a_part_at_a_time(self, session, worker, monkeypatch):
        monkeypatch.setattr("djqueue.store.patrol.BATCH", 3)
        one_at_a_time.delay_many(((key,), {}) for key in range(8))
        session.sql(
            f"SELECT * FROM {CLAIM.name}(%s, %s::text[], %s::smallint[], %s::bigint[], %s)",
            *claim_parameters(worker, [DEFAULT], 100),
        )
        after, turns = session(patrol), 1
        while after:
            after, turns = session(patrol, after), turns + 1
        assert turns == 3
        assert not ParkedTask.objects.exists()


class TestKeys:
    def test_a_key_is_made_of_bound_arguments_and_defaults(self, session):
        @shared_task(concurrency_key="{region}/{account[id]}", name="keys.bound")
        def keyed(account: dict[str, int], *, region: str = "eu") -> None: ...

        keyed.delay({"id": 7})
        keyed.delay(account={"id": 8}, region="us")
        gates = {task.options["gate"] for task in Task.objects.all()}
        assert gates == {"key eu/7", "key us/8"}

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"concurrency_key": "{accuont}"}, r"to name parameters of the task \(account, more\), got: '\{accuont\}'"),
            ({"concurrency_key": "{account"}, "to be a format string, got"),
            ({"concurrency_key": 5}, "to be a text such as 'customer:{customer_id}', got: 5"),
            ({"concurrency_limit": 0}, "to be a whole number from 1 to 1000, got: 0"),
            ({"concurrency_limit": 1001}, "from 1 to 1000, got: 1001"),
            ({"concurrency_limit": True}, "from 1 to 1000, got: True"),
            ({"concurrency_ordered": True, "concurrency_limit": 2}, "to be 1, because it is concurrency_ordered"),
            ({"concurrency_ordered": "yes"}, "to be True or False, got: 'yes'"),
            ({"rate_key": "{account}"}, "to have a rate_limit .* because it has rate_key"),
            ({"rate_strict": True}, "to have a rate_limit .* because it has rate_strict"),
            ({"rate_limit": "10/y"}, "to be a number of tasks a second, or one with its unit, .*, got: '10/y'"),
            ({"rate_limit": -1}, "got: -1"),
            ({"rate_limit": True}, "got: True"),
            ({"rate_limit": float("nan")}, "got: nan"),
        ],
    )
    def test_options_that_cannot_be_are_refused_at_the_definition(self, options, message):
        with pytest.raises(ValueError, match=message):

            @shared_task(name="keys.refused", **options)
            def keyed(account: int, more: int = 0) -> None: ...

    @pytest.mark.parametrize(
        ("value", "message"),
        [
            ("", r"to come to 1 to 200 printable characters .*, got: ''"),
            ("x" * 201, "to come to 1 to 200 printable characters"),
            ("a\nb", "printable characters"),
            (object(), "mean the same in every process"),
        ],
    )
    def test_a_key_that_is_no_short_text_is_refused_at_the_call(self, db, value, message):
        @shared_task(concurrency_key="{value}", name="keys.values", typing=False)
        def keyed(value: Any) -> None: ...

        with pytest.raises(ValueError, match=message):
            keyed.delay(value)
        assert not Task.objects.exists()

    def test_a_part_that_an_argument_does_not_have_is_refused_at_the_call(self, db):
        @shared_task(concurrency_key="{account[id]}", name="keys.parts")
        def keyed(account: Any) -> None: ...

        with pytest.raises(ValueError, match=r"cannot be made from this call: KeyError\('id'\)"):
            keyed.delay({})
        with pytest.raises(ValueError, match="cannot be made from this call"):
            keyed.delay(5)

    def test_a_key_may_not_depend_on_the_result_of_an_earlier_step(self, db):
        with pytest.raises(ValueError, match="what an earlier step returns is not known yet"):
            chain(noop.s(), one_at_a_time.s()).apply_async()
        assert not Task.objects.exists()

    @pytest.mark.parametrize("option", ["concurrency_key", "concurrency_limit", "rate_limit", "rate_key"])
    def test_limits_are_no_options_of_a_call(self, db, option):
        with pytest.raises(TypeError, match=f"'{option}' is an option of @shared_task, not of a call"):
            noop.apply_async(**{option: 1})

    def test_a_task_called_by_name_has_its_limits_too(self, db):
        from djqueue import send_task

        send_task(one_at_a_time.name, (5,))
        assert Task.objects.get().options["gate"] == "key account:5"


def test_plain_tasks_are_claimed_and_settled_as_if_there_were_no_limits(
    session: Session, worker: int, django_assert_num_queries: Callable[..., Any]
) -> None:
    """No row of theirs is in any table of limits, and nothing is stored with them."""
    one_at_a_time.delay(1)
    plain = noop.delay().id
    claims = {claimed.id: claimed for claimed in session(claim, worker, LANES, 10)}
    assert not claims[plain].holds_slot
    assert claims[plain].options is None
