"""Rate limits in the store: how many pass when, and what becomes of those that do not.

Time is made to pass by moving the moments in the rows of the gates into the past.
"""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest
from django.db import connection, transaction
from django.utils import timezone

from djqueue import control
from djqueue.doctor import check_invariants
from djqueue.limits import parse_rate
from djqueue.models import ConcurrencySlot, ParkedTask, RateGate, RateLimit
from djqueue.rates import has_changed, set_queue_rate_limit, set_rate_limit
from djqueue.records import Claim, Lane, Outcome
from djqueue.store.claim import CLAIM, claim, claim_parameters
from djqueue.store.conclude import conclude
from djqueue.store.pace import pace
from djqueue.store.patrol import let_expired_go, patrol
from djqueue.store.promote import promote
from djqueue.store.rates import declare_rates
from djqueue.store.release import release
from djqueue.store.settle import settle

from .conftest import DEFAULT, Session, until_blocked
from .site.cluster_limits import both, once_an_hour, once_an_hour_each, strictly_ten_a_second, twenty_a_second
from .site.tasks import noop

LANES = [Lane("default!", 0), DEFAULT]
NOW = 1_800_000_000.0
DECLARED: dict[str, tuple[str, bool] | None] = {
    once_an_hour.name: ("1/h", False),
    once_an_hour_each.name: ("1/h", False),
    both.name: ("1/h", False),
    twenty_a_second.name: ("20/s", False),
    strictly_ten_a_second.name: ("10/s", True),
}


@pytest.fixture(autouse=True)
def _declared(session: Session) -> None:
    session(declare_rates, DECLARED)


def ids(claims: list[Claim]) -> list[str]:
    return [claimed.id for claimed in claims]


def succeeded(claimed: Claim) -> Outcome:
    return Outcome.succeeded(claimed.id, claimed.attempt, "null", NOW, NOW + 1)


def pass_time(session: Session, seconds: float) -> None:
    session.sql(
        "UPDATE djqueue_rategate SET wakes_at = wakes_at - make_interval(secs => %s),"
        " free_at = free_at - make_interval(secs => %s)",
        seconds,
        seconds,
    )


def claim_and_settle(session: Session, worker: int) -> list[str]:
    claims = session(claim, worker, LANES, 1000)
    session(settle, worker, "w", list(map(succeeded, claims)))
    return ids(claims)


class TestTokens:
    def test_tokens_of_half_a_second_are_kept_and_the_other_tasks_are_parked(self, session, worker):
        tasks = [result.id for result in twenty_a_second.delay_many(((), {}) for _ in range(40))]
        began = time.monotonic()
        assert claim_and_settle(session, worker) == tasks[:11]
        assert ParkedTask.objects.count() == 29
        assert session(pace)[0] <= 20 * (time.monotonic() - began)

    def test_tokens_come_with_time(self, session, worker):
        twenty_a_second.delay_many(((), {}) for _ in range(40))
        claim_and_settle(session, worker)
        pass_time(session, 0.26)
        passed, next_in = session(pace)
        assert 5 <= passed <= 11
        assert 0 < next_in <= 0.1
        assert len(claim_and_settle(session, worker)) == passed

    def test_the_rate_is_kept_over_many_turns_whenever_they_come(self, session, worker):
        """Three seconds in odd steps, and the time that the test itself takes; no fraction of a token is lost."""
        twenty_a_second.delay_many(((), {}) for _ in range(200))
        claim_and_settle(session, worker)
        done, began = 0, time.monotonic()
        for step in (0.13, 0.07, 0.26, 0.11, 0.23, 0.2) * 3:
            pass_time(session, step)
            session(pace)
            done += len(claim_and_settle(session, worker))
        assert 60 <= done <= 62 + 20 * (time.monotonic() - began)

    def test_a_strict_limit_lets_one_at_a_time_pass(self, session, worker):
        tasks = [result.id for result in strictly_ten_a_second.delay_many(((), {}) for _ in range(5))]
        assert claim_and_settle(session, worker) == tasks[:1]
        for expected in tasks[1:4]:
            pass_time(session, 5)
            assert session(pace)[0] == 1
            assert claim_and_settle(session, worker) == [expected]

    def test_each_key_has_tokens_of_its_own(self, session, worker):
        tasks = {(key, n): once_an_hour_each.delay(key).id for n in range(2) for key in (1, 2, 3)}
        assert set(claim_and_settle(session, worker)) == {tasks[key, 0] for key in (1, 2, 3)}

    def test_no_more_pass_while_the_last_that_did_is_still_in_line(self, session, worker):
        """Or workers that were busy for an hour would find an hour's worth of tasks."""
        twenty_a_second.delay_many(((), {}) for _ in range(40))
        claim_and_settle(session, worker)
        pass_time(session, 0.26)
        passed, _ = session(pace)
        for _ in range(3):
            pass_time(session, 60)
            assert session(pace)[0] == 0
        assert len(claim_and_settle(session, worker)) == passed
        pass_time(session, 60)
        assert session(pace)[0] == 11

    def test_the_higher_priority_passes_first(self, session, worker):
        low = [once_an_hour.delay().id for _ in range(3)]
        assert claim_and_settle(session, worker) == low[:1]
        high = once_an_hour.apply_async(priority=9).id
        session(claim, worker, [Lane("default", 9)], 10)
        pass_time(session, 3600)
        assert session(pace)[0] == 1
        assert session.places()[high] == "ready"

    def test_plain_tasks_are_not_held_up(self, session, worker):
        limited, parked, plain = once_an_hour.delay().id, once_an_hour.delay().id, noop.delay().id
        assert set(claim_and_settle(session, worker)) == {limited, plain}
        assert session.places()[parked] == "parked"

    def test_each_task_moves_a_fixed_number_of_times(self, session, worker):
        """Into line, out of it, and in front of it: a place each."""
        before = session.value("SELECT last_value FROM djqueue_readytask_seq")
        twenty_a_second.delay_many(((), {}) for _ in range(200))
        done, turns = 0, 0
        while done < 200:
            done, turns = done + len(claim_and_settle(session, worker)), turns + 1
            pass_time(session, 0.26)
            session(pace)
        assert turns > 15
        assert session.value("SELECT last_value FROM djqueue_readytask_seq") - before == 3 * 200

    def test_an_attempt_that_is_made_again_takes_another_token(self, session, worker):
        task = once_an_hour.delay().id
        (claimed,) = session(claim, worker, LANES, 10)
        session(release, worker, [Outcome.released(claimed.id, 1)])
        assert session(claim, worker, LANES, 10) == []
        assert session.places() == {task: "parked"}

    def test_a_task_with_an_eta_takes_its_token_when_it_is_due(self, session, worker):
        later = once_an_hour.apply_async(countdown=60).id
        first = once_an_hour.delay().id
        assert claim_and_settle(session, worker) == [first]
        session.sql("UPDATE djqueue_scheduledtask SET run_at = now()")
        session(promote)
        assert claim_and_settle(session, worker) == []
        assert session.places()[later] == "parked"


class TestQueues:
    def test_a_queue_has_a_limit_for_all_of_its_tasks_together(self, session, worker):
        set_queue_rate_limit("default", "2/h")
        noop.delay_many(((), {}) for _ in range(3))
        noop.apply_async(queue="other")
        assert len(claim_and_settle(session, worker)) == 1
        assert len(session(claim, worker, [Lane("other", 0)], 10)) == 1

    def test_a_task_passes_the_limit_of_its_name_and_then_that_of_its_queue(self, session, worker):
        set_queue_rate_limit("default", "1/h")
        first = noop.delay().id
        assert claim_and_settle(session, worker) == [first]
        task = once_an_hour.delay().id
        assert claim_and_settle(session, worker) == []
        assert ParkedTask.objects.get().gate.startswith("queue ")
        pass_time(session, 3600)
        session(pace)
        assert claim_and_settle(session, worker) == [task]


class TestWithSlots:
    def test_a_task_takes_its_slot_first_and_keeps_it_while_it_waits_for_a_token(self, session, worker):
        first, second, third = (both.delay(key).id for key in (1, 2, 2))
        assert claim_and_settle_both(session, worker) == [first]
        assert {str(slot.task_id) for slot in ConcurrencySlot.objects.all()} == {second}
        gates = {str(parked.task_id): parked.gate.split()[0] for parked in ParkedTask.objects.all()}
        assert gates == {second: "task", third: "key"}
        pass_time(session, 3600)
        session(pace)
        assert claim_and_settle_both(session, worker) == [second]
        assert {str(slot.task_id) for slot in ConcurrencySlot.objects.all()} == {third}
        pass_time(session, 3600)
        session(pace)
        assert claim_and_settle_both(session, worker) == [third]
        assert not ConcurrencySlot.objects.exists()

    def test_one_that_is_cancelled_while_it_waits_for_a_token_gives_its_slot_back(self, session, worker):
        _first, second, third = (both.delay(key).id for key in (1, 2, 2))
        claim_and_settle_both(session, worker)
        assert control.revoke(second) == {second}
        assert {str(slot.task_id) for slot in ConcurrencySlot.objects.all()} == {third}


def claim_and_settle_both(session: Session, worker: int) -> list[str]:
    claims = session(claim, worker, LANES, 1000)
    session(conclude, worker, "w", list(map(succeeded, claims)))
    return ids(claims)


class TestChanges:
    def test_a_higher_rate_acts_on_what_is_parked(self, session, worker):
        once_an_hour.delay_many(((), {}) for _ in range(5))
        assert len(claim_and_settle(session, worker)) == 1
        set_rate_limit(once_an_hour.name, "1000/s")
        assert session(pace)[0] in (0, 1)  # the token that an hour would have brought is due in a millisecond
        pass_time(session, 1)
        session(pace)
        assert len(claim_and_settle(session, worker)) >= 3

    @pytest.mark.parametrize("remove", ["0", "row"])
    def test_without_a_limit_everything_passes(self, session, worker, remove):
        once_an_hour.delay_many(((), {}) for _ in range(5))
        assert len(claim_and_settle(session, worker)) == 1
        if remove == "row":
            RateLimit.objects.get(name=once_an_hour.name).delete()
            has_changed(connection, 1, once_an_hour.name)
        else:
            set_rate_limit(once_an_hour.name, 0)
        assert session(pace)[0] == 4
        assert len(claim_and_settle(session, worker)) == 4
        once_an_hour.delay_many(((), {}) for _ in range(5))
        assert len(claim_and_settle(session, worker)) == 5

    def test_a_task_without_a_limit_gets_one(self, session, worker):
        noop.delay_many(((), {}) for _ in range(5))
        set_rate_limit(noop.name, "1/m")
        assert len(claim_and_settle(session, worker)) == 1

    def test_what_is_set_wins_over_what_is_declared_until_it_is_taken_back(self, session):
        limits = RateLimit.objects.filter(name=once_an_hour.name)
        set_rate_limit(once_an_hour.name, "10/s")
        session(declare_rates, {once_an_hour.name: ("2/h", True)})
        assert limits.values_list("declared", "rate", "strict", "per_second").get() == ("2/h", "10/s", True, 10)
        set_rate_limit(once_an_hour.name, None)
        assert limits.values_list("rate", "per_second").get() == ("", 2 / 3600)

    def test_what_the_code_no_longer_declares_holds_no_longer(self, session):
        session(declare_rates, {once_an_hour.name: None})
        assert RateLimit.objects.get(name=once_an_hour.name).per_second is None
        assert RateLimit.objects.get(name=both.name).per_second is not None

    def test_declaring_the_same_again_writes_nothing(self, session):
        before = RateLimit.objects.get(name=both.name).changed_at
        session(declare_rates, DECLARED)
        assert RateLimit.objects.get(name=both.name).changed_at == before

    def test_a_change_in_a_long_transaction_does_not_hold_up_claims(self, session, worker):
        once_an_hour.delay_many(((), {}) for _ in range(3))
        assert len(claim_and_settle(session, worker)) == 1
        with transaction.atomic():
            set_rate_limit(once_an_hour.name, "1000/s")
            once_an_hour.apply_async(task_id=None)
            noop.delay()
            assert session(pace)[0] == 0
            assert claim_and_settle(session, worker) == []
        assert RateGate.objects.get().wakes_at <= timezone.now()

    def test_a_change_waits_for_who_gives_tokens_out_at_the_old_rate(self, connect):
        """Or that one would write that the next token comes in an hour, after the change has looked for such rows."""
        pacing, changing = connect(), connect()
        worker = pacing.new_worker()
        once_an_hour.delay_many(((), {}) for _ in range(3))
        assert len(claim_and_settle(pacing, worker)) == 1
        pass_time(pacing, 3600)

        async def race() -> None:
            async with pacing.connection.transaction():
                assert (await pace(pacing.connection))[0] == 1
                change = asyncio.create_task(declare_rates(changing.connection, {once_an_hour.name: ("1000/s", False)}))
                await until_blocked(pacing.connection)
            await change

        pacing.runner.run(race())
        assert RateGate.objects.get().wakes_at <= timezone.now()

    def test_a_change_that_is_rolled_back_is_none(self, session, worker):
        with transaction.atomic():
            set_rate_limit(noop.name, "1/m")
            transaction.set_rollback(True)
        noop.delay_many(((), {}) for _ in range(3))
        assert len(claim_and_settle(session, worker)) == 3

    @pytest.mark.parametrize("rate", ["fast", "10/w", "-1", -1, True, float("inf"), "", [1]])
    def test_what_is_no_rate_is_refused(self, session, rate):
        with pytest.raises(ValueError, match="expected a rate limit to be a number of tasks a second"):
            set_rate_limit(noop.name, rate)

    @pytest.mark.parametrize("name", ["", None, 5])
    def test_what_is_no_name_is_refused(self, session, name: Any):
        with pytest.raises(ValueError, match="expected the name of a"):
            set_rate_limit(name, "1/s")
        with pytest.raises(ValueError, match="expected the name of a"):
            set_queue_rate_limit(name, "1/s")


class TestUpkeep:
    def test_an_expired_task_takes_no_token(self, session, worker):
        tasks = [once_an_hour.apply_async(expires=3600).id for _ in range(2)]
        assert claim_and_settle(session, worker) == tasks[:1]
        session.sql("UPDATE djqueue_parkedtask SET expires_at = now()")
        assert session(let_expired_go) == 1
        assert claim_and_settle(session, worker) == tasks[1:]

    def test_a_parked_task_can_be_cancelled(self, session, worker):
        tasks = [once_an_hour.delay().id for _ in range(2)]
        claim_and_settle(session, worker)
        assert control.revoke(tasks[1]) == {tasks[1]}
        assert session.places()[tasks[1]] == "cancelled"

    def test_a_worker_that_died_between_parking_a_task_and_looking_for_it(self, session, worker):
        task = once_an_hour.delay().id
        session.sql(
            f"SELECT * FROM {CLAIM.name}(%s, %s::text[], %s::smallint[], %s::bigint[], %s)",
            *claim_parameters(worker, [DEFAULT], 10),
        )
        session.sql("UPDATE djqueue_parkedtask SET parked_at = parked_at - interval '1 hour'")
        assert [finding.check for finding in check_invariants()] == ["parked-without-wakening"]
        session(patrol)
        session(pace)
        assert claim_and_settle(session, worker) == [task]

    def test_gates_that_are_not_used_are_forgotten(self, session, worker):
        once_an_hour_each.delay_many(((key,), {}) for key in range(5))
        claim_and_settle(session, worker)
        pass_time(session, 3600 * 2)
        session(pace)
        assert RateGate.objects.count() == 5
        pass_time(session, 120)
        session(patrol)
        assert RateGate.objects.count() == 0

    def test_a_gate_whose_next_token_is_not_free_yet_is_kept(self, session, worker):
        once_an_hour_each.delay(1)
        claim_and_settle(session, worker)
        pass_time(session, 5)
        session(pace)
        session(patrol)
        assert RateGate.objects.count() == 1
        once_an_hour_each.delay(1)
        assert claim_and_settle(session, worker) == []


@pytest.mark.parametrize(
    ("rate", "per_second"),
    [
        (None, None),
        (0, None),
        ("0", None),
        ("0/m", None),
        (5, 5),
        (0.5, 0.5),
        ("10", 10),
        ("10/s", 10),
        ("90/m", 1.5),
        (" 36/h ", 0.01),
        ("1.5/s", 1.5),
        ("86400/d", 1),
    ],
)
def test_rates_are_written_as_in_celery(rate, per_second):
    assert parse_rate(rate) == per_second
