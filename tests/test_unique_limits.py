"""Unique tasks with limits: one that is held back, or has just passed its limit, holds its key, and can be changed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from djqueue.exceptions import TaskExists
from djqueue.models import ConcurrencySlot, ParkedTask, ReadyTask, ScheduledTask, StreamTicket, Task
from djqueue.rates import set_rate_limit
from djqueue.records import Claim, Lane, Outcome
from djqueue.results import AsyncResult
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.promote import promote
from djqueue.store.retry import retry

from .conftest import DEFAULT, Session
from .site.cluster_limits import one_at_a_time
from .site.routing_tasks import appended, invoice, synced

pytestmark = pytest.mark.usefixtures("transactional_db")
LANES = [Lane("default!", 0), DEFAULT]
NOW = 1_800_000_000.0
Call = Callable[..., AsyncResult]


def ids(claims: list[Claim]) -> list[str]:
    return [claimed.id for claimed in claims]


def ended(session: Session, worker: int, *claims: Claim) -> None:
    outcomes = [Outcome.succeeded(one.id, one.attempt, "null", NOW, NOW + 1) for one in claims]
    assert session(conclude, worker, "w", outcomes) == set(ids(list(claims)))


def slots() -> dict[str, str]:
    return {str(slot.task_id): slot.gate for slot in ConcurrencySlot.objects.all()}


@pytest.fixture
def blocker(session: Session, worker: int) -> Claim:
    """Runs, and has the only slot of account 1."""
    one_at_a_time.delay(1)
    (one,) = session(claim, worker, LANES, 1)
    return one


@pytest.fixture
def parked(session: Session, worker: int, blocker: Claim) -> AsyncResult:
    """A unique task that waits for the slot of account 1."""
    result = synced.delay(7)
    assert session(claim, worker, LANES, 5) == []
    assert session.places()[result.id] == "parked"
    return result


@pytest.fixture
def in_front(session: Session, worker: int, blocker: Claim, parked: AsyncResult) -> AsyncResult:
    """The same when it has the slot, and is in front of the line."""
    ended(session, worker, blocker)
    assert ReadyTask.objects.get(task_id=parked.id).queue == "default!"
    return parked


@pytest.fixture
def paced(session: Session, worker: int) -> AsyncResult:
    """A unique task that waits for a token of a rate limit."""
    set_rate_limit(invoice.name, "1/h")
    invoice.delay(1)
    session(claim, worker, LANES, 5)
    result = invoice.delay(7)
    assert session(claim, worker, LANES, 5) == []
    assert session.places()[result.id] == "parked"
    return result


@pytest.fixture(params=["parked", "in_front", "paced"])
def holder(request: Any) -> tuple[AsyncResult, Call]:
    """A task that a limit holds back, or has just let go, and a call with its key."""
    result = request.getfixturevalue(request.param)
    return result, (invoice if request.param == "paced" else synced).apply_async


class TestAKeyIsHeld:
    """Until the task has finished, wherever its limits have put it."""

    def test_skip_finds_the_task_and_leaves_it_where_it_is(self, session, holder):
        result, call = holder
        before = session.places(), slots()
        again = call((7,))
        assert (again.id, again.created) == (result.id, False)
        assert (session.places(), slots()) == before
        assert call((8,)).created

    def test_error_names_it(self, holder):
        result, call = holder
        with pytest.raises(TaskExists) as caught:
            call((7,), unique_action="error")
        assert caught.value.task_id == result.id

    def test_until_start_it_has_not_started(self, session, worker, blocker):
        first = synced.apply_async((7,), unique_until="start")
        session(claim, worker, LANES, 5)
        assert not synced.apply_async((7,), unique_until="start").created
        ended(session, worker, blocker)
        assert not synced.apply_async((7,), unique_until="start").created
        assert ids(session(claim, worker, LANES, 5)) == [first.id]
        assert synced.apply_async((7,), unique_until="start").created

    def test_an_expired_or_cancelled_one_holds_it_no_longer(self, session, worker, blocker):
        expired = synced.apply_async((7,), expires=60)
        session(claim, worker, LANES, 5)
        session.sql("UPDATE djqueue_task SET expires_at = now() WHERE id = %s", expired.id)
        following = synced.delay(7)
        assert following.created
        following.revoke()
        assert synced.delay(7).created


class TestReplace:
    def test_it_runs_with_the_new_arguments_from_the_place_that_it_had(self, session, worker, blocker, parked):
        behind = synced.delay(8)
        session(claim, worker, LANES, 5)
        assert synced.apply_async((7,), {"text": "new"}, unique_action="replace", expires=60).id == parked.id
        assert ParkedTask.objects.get(task_id=parked.id).expires_at is not None
        ended(session, worker, blocker)
        (one,) = session(claim, worker, LANES, 5)
        assert (one.id, one.kwargs) == (parked.id, '{"text": "new"}')
        assert session.places()[behind.id] == "parked"

    def test_in_front_it_keeps_its_place_and_its_slot(self, session, worker, in_front):
        before = ReadyTask.objects.values_list("queue", "priority", "seq", "task_id").get()
        synced.apply_async((7,), {"text": "new"}, unique_action="replace")
        assert ReadyTask.objects.values_list("queue", "priority", "seq", "task_id").get() == before
        assert slots() == {in_front.id: "key account:1"}
        (one,) = session(claim, worker, LANES, 5)
        assert one.kwargs == '{"text": "new"}'
        ended(session, worker, one)
        assert slots() == {}

    def test_at_a_rate_limit_it_keeps_its_place(self, paced):
        before = ParkedTask.objects.values_list("gate", "rank", "seq").get()
        invoice.apply_async((7,), headers={"a": 1}, unique_action="replace")
        assert ParkedTask.objects.values_list("gate", "rank", "seq").get() == before
        assert Task.objects.get(pk=paced.id).options["headers"] == {"a": 1}

    def test_with_another_key_of_its_limit_it_waits_for_that_and_its_slot_goes_to_the_next(
        self, session, worker, in_front
    ):
        following = synced.delay(8)
        assert session(claim, worker, [DEFAULT], 5) == []
        with transaction.atomic():
            synced.apply_async((7, 2), unique_action="replace")
            assert session.places()[following.id] == "parked"
        assert slots() == {following.id: "key account:1"}
        assert set(ids(session(claim, worker, LANES, 5))) == {following.id, in_front.id}
        assert slots() == {following.id: "key account:1", in_front.id: "key account:2"}

    def test_what_is_parked_moves_to_another_queue(self, session, worker, blocker, parked):
        synced.apply_async((7,), queue="other", priority=3, unique_action="replace")
        row = ReadyTask.objects.get()
        assert (row.queue, row.priority, str(row.task_id)) == ("other", 3, parked.id)
        other = [Lane("other!", 3), Lane("other", 3)]
        assert session(claim, worker, other, 5) == []
        ended(session, worker, blocker)
        assert ids(session(claim, worker, other, 5)) == [parked.id]

    def test_a_rolled_back_one_has_changed_nothing(self, session, in_front):
        before = session.places(), slots()
        with transaction.atomic():
            synced.apply_async((7, 2), unique_action="replace")
            transaction.set_rollback(True)
        assert (session.places(), slots()) == before


class TestReschedule:
    def test_what_is_put_off_holds_no_slot_meanwhile(self, session, worker, in_front):
        following = synced.delay(8)
        assert session(claim, worker, [DEFAULT], 5) == []
        synced.apply_async((7,), countdown=60, unique_action="reschedule")
        assert session.places()[in_front.id] == "scheduled"
        (one,) = session(claim, worker, LANES, 5)
        assert one.id == following.id
        session.sql("UPDATE djqueue_scheduledtask SET run_at = now()")
        session(promote)
        assert session(claim, worker, LANES, 5) == []
        ended(session, worker, one)
        assert ids(session(claim, worker, LANES, 5)) == [in_front.id]

    def test_what_is_parked_is_put_off(self, session, worker, parked):
        synced.apply_async((7,), countdown=60, unique_action="reschedule")
        assert (ParkedTask.objects.count(), ScheduledTask.objects.count()) == (0, 1)

    def test_without_a_time_it_stays(self, holder, session):
        result, call = holder
        before = session.places(), slots()
        assert call((7,), unique_action="reschedule").id == result.id
        assert (session.places(), slots()) == before


class TestOrderedStreams:
    def test_a_unique_task_has_its_place(self, session, worker):
        first, second = appended.delay(1), appended.apply_async((2,), countdown=-1)
        assert appended.delay(2).id == second.id
        third = appended.delay_many([((2,), {}), ((3,), {})])[1]
        session(promote)
        done = []
        while claims := session(claim, worker, LANES, 5):
            done += ids(claims)
            ended(session, worker, *claims)
        assert done == [first.id, second.id, third.id]
        assert not StreamTicket.objects.exists()

    def test_replaced_it_keeps_its_place_or_comes_last_in_another_stream(self, session, worker):
        tasks = {n: appended.delay(n, journal).id for n, journal in enumerate([1, 1, 1, 2, 2])}
        appended.apply_async((1, 1, "new"), unique_action="replace")
        appended.apply_async((0, 2), unique_action="replace")
        done = []
        while claims := session(claim, worker, LANES, 5):
            done += ids(claims)
            ended(session, worker, *claims)
        assert [one for one in done if one in (tasks[1], tasks[2])] == [tasks[1], tasks[2]]
        assert [one for one in done if one in (tasks[0], tasks[3], tasks[4])] == [tasks[3], tasks[4], tasks[0]]

    def test_a_retried_one_that_is_replaced_still_goes_before_those_that_follow(self, session, worker):
        first, second = appended.delay(1), appended.delay(2)
        (one,) = session(claim, worker, LANES, 5)
        plan = '{"countdown": 60}'
        session(retry, worker, "w", [Outcome.retried(one.id, 1, '{"exc_type": "E"}', NOW, NOW + 1, plan)])
        appended.apply_async((1,), {"text": "new"}, unique_action="replace")
        (again,) = session(claim, worker, LANES, 5)
        assert (again.id, again.kwargs) == (first.id, '{"text": "new"}')
        ended(session, worker, again)
        assert ids(session(claim, worker, LANES, 5)) == [second.id]

    def test_one_that_leaves_a_stream_lets_the_next_pass(self, session, worker):
        first, second = appended.apply_async((1,), countdown=60), appended.delay(2)
        assert session(claim, worker, LANES, 5) == []
        assert session.places() == {first.id: "scheduled", second.id: "parked"}
        appended.apply_async((1, 2), countdown=60, unique_action="replace")
        assert ids(session(claim, worker, LANES, 5)) == [second.id]


def test_calls_race_with_limits_and_no_last_argument_is_lost(connect, in_thread):
    """Producers replace tasks that move between the line, their gate and the front of the line."""
    keys, calls = 4, 40
    done: dict[int, int] = {}
    session = connect()
    worker = session.new_worker()

    def produce(key: int) -> None:
        for number in range(calls):
            account = number % 3
            synced.apply_async(
                (key, account), {"text": str(number)}, unique_until="start", unique_action="replace", queue="default"
            )

    producers = [in_thread(produce, key) for key in range(keys)]
    idle = 0
    while idle < 3:
        claims = session(claim, worker, LANES, 2)
        standing = [task_id for task_id, place in session.places().items() if place in ("ready", "parked")]
        waiting = [task.args[0] for task in Task.objects.filter(pk__in=standing)]
        assert len(waiting) == len(set(waiting))
        for one in claims:
            task = Task.objects.get(pk=one.id)
            done[task.args[0]] = int(task.kwargs["text"])
            assert one.kwargs == f'{{"text": "{task.kwargs["text"]}"}}'
        if claims:
            ended(session, worker, *claims)
        idle = idle + 1 if not claims and all(producer.done() for producer in producers) else 0
    for producer in producers:
        producer.result()
    assert done == dict.fromkeys(range(keys), calls - 1)
    assert not ConcurrencySlot.objects.exists()
    assert set(session.places().values()) == {"succeeded"}
