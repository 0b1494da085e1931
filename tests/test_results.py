"""``AsyncResult``: what a caller can ask about a task, whatever became of it."""

from __future__ import annotations

import copy
import pickle
import time
import uuid
from collections.abc import Callable
from typing import Any

import pytest
from django.db import transaction

from djqueue import AsyncResult, current_task
from djqueue.context import Request, current_request, running
from djqueue.control import revoke
from djqueue.exceptions import TaskRevokedError, TimeoutError, WorkerLostError
from djqueue.models import ScheduledTask, Task
from djqueue.records import Claim, Outcome
from djqueue.serializers import encode, encode_error
from djqueue.states import Ending, ScheduleReason
from djqueue.store.cancel import cancellations
from djqueue.store.claim import claim
from djqueue.store.lose import lose
from djqueue.store.progress import note_states
from djqueue.store.settle import settle

from .conftest import DEFAULT, Session
from .site.tasks import Stubborn, TooSour, echo, noop

NOW = 1_900_000_000.0
UNKNOWN = "00000000-0000-7000-8000-000000000000"
End = Callable[..., None]


def ended(claimed: Claim, *, value: Any = None, error: BaseException | None = None, ending: Any = None) -> Outcome:
    if ending is None:
        ending = Ending.SUCCEEDED if error is None else Ending.FAILED
    text = encode(value) if ending is Ending.SUCCEEDED else None
    return Outcome(claimed.id, claimed.attempt, ending, text, error and encode_error(error), NOW, NOW + 1)


@pytest.fixture
def end(session: Session, worker: int) -> End:
    """End the only task in line as a worker would: ``end(value=…)``, ``end(error=…)`` or ``end(ending=…)``."""

    def end(**how: Any) -> None:
        (claimed,) = session(claim, worker, [DEFAULT], 1)
        assert session(settle, worker, "worker-7", [ended(claimed, **how)])

    return end


class TestStates:
    def test_an_unknown_id_is_pending_for_there_is_no_telling(self, db):
        result = AsyncResult(UNKNOWN)
        assert (result.state, result.result, result.traceback) == ("PENDING", None, None)
        assert (result.ready(), result.successful(), result.failed()) == (False, False, False)
        assert (result.date_done, result.worker) == (None, None)

    def test_a_task_in_line_and_one_on_the_schedule_are_pending(self, db):
        assert noop.delay().state == "PENDING"
        assert noop.apply_async(countdown=60).state == "PENDING"

    def test_a_task_that_a_worker_holds_is_started(self, session, worker):
        result = noop.delay()
        session(claim, worker, [DEFAULT], 1)
        assert (result.state, result.ready()) == ("STARTED", False)

    def test_a_task_that_was_lost_and_is_in_line_again_is_pending(self, session, worker):
        result = noop.delay()
        (claimed,) = session(claim, worker, [DEFAULT], 1)
        session(lose, worker, "w", [Outcome.lost(claimed.id, 1, encode_error(WorkerLostError()), NOW)], 3)
        assert (result.state, result.result) == ("PENDING", None)

    def test_a_task_that_waits_for_a_retry_tells_the_error_of_its_last_attempt(self, session, worker):
        result = noop.apply_async(countdown=60)
        ScheduledTask.objects.update(reason=ScheduleReason.RETRY, attempt=1)
        assert (result.state, result.result) == ("RETRY", None)
        for attempt, text in ((1, "first"), (2, "second")):
            session.sql(
                "INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, finished_at)"
                " VALUES (%s, %s, 6, 'w', %s, now())",
                result.id,
                attempt,
                encode_error(TooSour(text)),
            )
        assert (type(result.result), result.result.args) == (TooSour, ("second",))

    def test_a_task_that_succeeded(self, end):
        result = echo.delay(1)
        end(value={"a": [1]})
        assert (result.state, result.status, result.result, result.info) == ("SUCCESS", "SUCCESS", *[{"a": [1]}] * 2)
        assert (result.ready(), result.successful(), result.failed()) == (True, True, False)
        assert (result.worker, result.date_done.timestamp(), result.traceback) == ("worker-7", NOW + 1, None)

    def test_a_task_that_failed(self, end):
        result = echo.delay(1)
        end(error=TooSour("lemon", 42))
        assert result.state == "FAILURE"
        assert (type(result.result), result.result.args) == (TooSour, ("lemon", 42))
        assert result.traceback.endswith("TooSour: ('lemon', 42)\n")
        assert (result.ready(), result.successful(), result.failed()) == (True, False, True)

    def test_a_task_that_was_cancelled(self, end):
        result = echo.delay(1)
        end(ending=Ending.CANCELLED)
        assert (result.state, type(result.result)) == ("REVOKED", TaskRevokedError)
        assert (result.ready(), result.successful(), result.failed()) == (True, False, False)

    def test_asking_for_a_state_costs_one_statement(self, db, django_assert_num_queries):
        result = noop.delay()
        with django_assert_num_queries(1):
            assert result.state == "PENDING"


class TestGet:
    @pytest.mark.parametrize("value", [None, 0, False, "", [], {"x": [1, 2.5, "é"]}, b"\x00", uuid.UUID(int=5)])
    def test_it_returns_the_value(self, end, value):
        result = echo.delay(1)
        end(value=value)
        assert result.get(timeout=5) == value

    def test_it_raises_the_error_of_the_task(self, end):
        result = echo.delay(1)
        end(error=TooSour("lemon", 42))
        with pytest.raises(TooSour) as caught:
            result.get(timeout=5)
        assert caught.value.args == ("lemon", 42)

    def test_it_raises_something_readable_where_the_error_cannot_be_rebuilt(self, end):
        result = echo.delay(1)
        end(error=Stubborn(fruit="lemon"))
        with pytest.raises(Exception, match=r"tests.site.tasks.Stubborn.*no lemon today") as caught:
            result.get(timeout=5)
        assert type(caught.value) is Exception

    def test_it_raises_that_the_task_was_cancelled(self, end):
        result = echo.delay(1)
        end(ending=Ending.CANCELLED)
        with pytest.raises(TaskRevokedError):
            result.get(timeout=5)

    def test_it_returns_the_error_unless_it_is_to_propagate(self, end):
        result = echo.delay(1)
        end(error=TooSour("lemon"))
        assert type(result.get(timeout=5, propagate=False)) is TooSour
        assert type(result.wait(timeout=5, propagate=False)) is TooSour

    def test_a_timeout_of_0_looks_once(self, end, django_assert_num_queries):
        result = echo.delay(1)
        with django_assert_num_queries(1), pytest.raises(TimeoutError, match=result.id):
            result.get(timeout=0)
        end(value=5)
        with django_assert_num_queries(1):
            assert result.get(timeout=0) == 5

    def test_it_waits_no_longer_than_the_timeout(self, db):
        began = time.monotonic()
        with pytest.raises(TimeoutError, match=r"within 0\.2 s"):
            AsyncResult(noop.delay().id).get(timeout=0.2, interval=60)
        assert 0.2 <= time.monotonic() - began < 5

    def test_it_refuses_to_wait_for_a_task_of_a_transaction_that_is_still_open(self, db):
        with pytest.raises(RuntimeError, match="Call get\\(\\) after the commit"):
            noop.delay().get(timeout=30)

    def test_once_that_transaction_has_committed_it_waits_in_another_one_too(self, end):
        with transaction.atomic():
            result = echo.delay(1)
        end(value=5)
        with transaction.atomic():
            assert result.get(timeout=5) == 5

    def test_a_result_that_was_pickled_before_the_commit_can_be_waited_for_after_it(self, end):
        with transaction.atomic():
            pickled = pickle.dumps(echo.delay(1))
        end(value=5)
        with transaction.atomic():
            assert pickle.loads(pickled).get(timeout=5) == 5

    def test_it_waits_for_a_task_that_ends_later(self, session, worker, in_thread):
        result = echo.delay(1)
        waiting = in_thread(result.get, 30)
        (claimed,) = session(claim, worker, [DEFAULT], 1)
        with pytest.raises(TimeoutError):
            result.get(timeout=0)
        session(settle, worker, "w", [ended(claimed, value="at last")])
        assert waiting.result(timeout=30) == "at last"

    def test_it_calls_back_with_id_and_value(self, end):
        result = echo.delay(1)
        end(value=5)
        heard: list[Any] = []
        result.get(timeout=5, callback=lambda *args: heard.append(args))
        assert heard == [(result.id, 5)]

    def test_it_does_not_wait_for_a_result_that_is_ignored(self, db):
        assert noop.apply_async(ignore_result=True).get() is None

    def test_it_sees_a_result_that_comes_during_the_callers_transaction(self, session, worker):
        result = echo.delay(1)
        with transaction.atomic():
            assert result.state == "PENDING"
            (claimed,) = session(claim, worker, [DEFAULT], 1)
            session(settle, worker, "w", [ended(claimed, value=5)])
            assert result.get(timeout=5) == 5


class TestInsideATask:
    @pytest.fixture
    def inside(self) -> Any:
        return running(noop, Request(id=UNKNOWN))

    def test_get_is_refused_for_it_would_block_a_slot(self, end, inside):
        result = echo.delay(1)
        end(value=5)
        with inside, pytest.raises(RuntimeError, match=r"never call get\(\) within a task"):
            result.get(timeout=5)
        assert result.get(timeout=5) == 5

    def test_get_is_allowed_to_those_who_know_better(self, end, inside):
        result = echo.delay(1)
        end(value=5)
        with inside:
            assert result.get(timeout=5, disable_sync_subtasks=False) == 5

    def test_the_context_is_that_of_the_task_and_ends_with_it(self, inside):
        with inside:
            assert (current_request().id, noop.request.id) == (UNKNOWN, UNKNOWN)
            assert current_task.name == noop.name
            assert bool(current_task)
        assert current_request().called_directly
        assert current_task.name is None
        assert not current_task

    def test_a_request_answers_none_to_what_it_does_not_know(self):
        request = Request(id=UNKNOWN)
        assert request.no_such_thing is None
        assert (request.get("id"), request.get("x"), request.get("x", 5)) == (UNKNOWN, None, 5)
        with pytest.raises(AttributeError):
            request.__no_such_thing__  # noqa: B018


class TestForget:
    def test_a_forgotten_task_leaves_nothing(self, end):
        result = echo.delay(1)
        end(error=TooSour("lemon"))
        result.forget()
        assert result.state == "PENDING"
        assert not Task.objects.exists()

    def test_a_task_that_has_not_finished_is_not_forgotten(self, session, worker):
        result = noop.delay()
        session(claim, worker, [DEFAULT], 1)
        result.forget()
        assert result.state == "STARTED"


class TestIdentity:
    def test_a_result_is_equal_to_any_other_of_its_id_and_to_the_id(self):
        one, same, other = AsyncResult(UNKNOWN), AsyncResult(UNKNOWN), AsyncResult(str(uuid.uuid4()))
        assert one == same == UNKNOWN
        assert one != other
        assert one != uuid.UUID(UNKNOWN)
        assert {one: 1}[same] == {one: 1}[UNKNOWN] == 1
        assert len({one, same, other}) == 2

    def test_its_text_is_the_id(self):
        assert str(AsyncResult(UNKNOWN)) == f"{AsyncResult(UNKNOWN)}" == UNKNOWN
        assert repr(AsyncResult(UNKNOWN)) == f"<AsyncResult: {UNKNOWN}>"

    @pytest.mark.parametrize("given", [UNKNOWN.replace("-", "").upper(), uuid.UUID(UNKNOWN), f"{{{UNKNOWN}}}"])
    def test_an_id_is_taken_in_any_form_and_kept_in_one(self, given):
        assert AsyncResult(given).id == UNKNOWN

    @pytest.mark.parametrize("given", ["lemon", "", None, 5])
    def test_what_is_no_id_is_refused(self, given):
        with pytest.raises(ValueError, match="expected task_id to be a UUID"):
            AsyncResult(given)

    def test_it_can_be_copied_and_pickled(self):
        result = AsyncResult(UNKNOWN)
        assert pickle.loads(pickle.dumps(result)) == copy.copy(result) == copy.deepcopy(result) == result

    def test_a_definition_makes_results_of_ids_and_can_be_pickled_by_name(self):
        assert noop.AsyncResult(UNKNOWN) == AsyncResult(UNKNOWN)
        assert pickle.loads(pickle.dumps(noop)) is noop


class TestWhatWasAsked:
    def test_a_known_task_says_its_name_arguments_and_queue(self, db):
        result = echo.apply_async((1,), queue="mail")
        again = AsyncResult(result.id)
        assert (again.name, again.args, again.kwargs, again.queue, again.exists()) == (echo.name, [1], {}, "mail", True)

    def test_an_unknown_one_does_not(self, db):
        unknown = AsyncResult(UNKNOWN)
        assert (unknown.name, unknown.args, unknown.kwargs, unknown.queue, unknown.exists()) == (None,) * 4 + (False,)


class TestWaiting:
    def test_each_look_is_told(self, transactional_db):
        looks: list[str] = []
        result = noop.delay()
        with pytest.raises(TimeoutError):
            result.get(timeout=0.05, interval=0.01, on_interval=lambda: looks.append("look"))
        assert len(looks) > 1

    def test_progress_is_told_once_for_each_change(self, session: Session, worker: int, end: End):
        told: list[Any] = []
        result = noop.delay()
        steps = iter(
            [
                lambda: session(claim, worker, [DEFAULT], 1),
                lambda: session(note_states, worker, [(result.id, 1, "PROGRESS", "50")]),
                lambda: None,
                lambda: session(settle, worker, "w", [Outcome.succeeded(result.id, 1, "7", NOW, NOW + 1)]),
            ]
        )
        assert result.get(timeout=30, interval=0.01, on_interval=lambda: next(steps)(), on_message=told.append) == 7
        assert [(message["status"], message["result"]) for message in told] == [("STARTED", None), ("PROGRESS", 50)]

    def test_without_waiting_there_is_nothing_yet(self, db):
        assert noop.delay().maybe_throw() is None

    def test_a_failure_is_thrown_without_waiting(self, end: End):
        result = noop.delay()
        end(error=ValueError("sour"))
        with pytest.raises(ValueError, match="sour"):
            result.maybe_throw()
        assert isinstance(result.maybe_throw(propagate=False), ValueError)

    def test_then_calls_back_with_the_result(self, end: End):
        told: list[Any] = []
        result = noop.delay()
        end(value=3)
        assert result.then(lambda done: told.append(done.result)) is result
        assert told == [3]

    def test_then_tells_of_errors(self, end: End):
        told: list[Any] = []
        result = noop.delay()
        end(error=ValueError("sour"))
        result.then(told.append, on_error=lambda failed, error: told.append((failed.id, str(error))))
        assert told == [(result.id, "sour")]
        with pytest.raises(ValueError, match="sour"):
            result.then(told.append)


class TestRevoke:
    def test_an_os_signal_is_checked(self, db):
        result = noop.delay()
        with pytest.raises(ValueError, match="got: 'SIGFOO'"):
            result.revoke(terminate=True, signal="SIGFOO")
        with pytest.raises(ValueError, match="expected signal only with terminate=True, got: signal='TERM'"):
            result.revoke(signal="TERM")
        assert result.state == "PENDING"

    def test_how_it_is_to_end_is_noted_for_its_worker(self, session: Session, worker: int):
        result = noop.delay()
        session(claim, worker, [DEFAULT], 1)
        assert result.revoke() is False
        assert session(cancellations, worker) == [(result.id, False, None)]
        assert result.revoke(terminate=True, signal="int") is False
        assert result.revoke() is False
        assert session(cancellations, worker) == [(result.id, True, 2)]
        assert session(cancellations, worker + 1) == []

    def test_waiting_for_its_end_has_a_limit(self, session: Session, worker: int):
        result = noop.delay()
        session(claim, worker, [DEFAULT], 1)
        assert result.revoke(wait=True, timeout=0.05) is False
        assert result.state == "STARTED"

    def test_many_at_once(self, transactional_db):
        results = [noop.delay() for _ in range(3)]
        assert revoke([result.id for result in results[:2]]) == {results[0].id, results[1].id}
        assert [result.state for result in results] == ["REVOKED", "REVOKED", "PENDING"]
        assert revoke([]) == set()
