"""What becomes of a task in a worker, however the task behaves."""

from __future__ import annotations

import datetime
import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.core.management import call_command
from django.db import connection, transaction
from django.utils import timezone

from djqueue.doctor import check_invariants
from djqueue.enqueue import send_task
from djqueue.exceptions import EncodeError, NotRegistered
from djqueue.models import Task, TaskAttempt, TaskResult, Worker
from djqueue.results import AsyncResult
from djqueue.states import Ending, State

from .site.models import Mark
from .site.tasks import (
    TooSour,
    add,
    describes_itself,
    echo,
    enqueues,
    fails,
    fails_stubbornly,
    fails_with_cause,
    forgettable,
    interrupts,
    leaves_transaction_broken,
    marks,
    marks_then_fails,
    noop,
    prints,
    recurses,
    returns_at_length,
    returns_unencodable,
    sleeps,
    sleeps_async,
    system_exit,
    unchecked,
    waits_for,
)
from .site.worker_tasks import (
    begins_by_hand,
    breaks_its_transaction,
    logs,
    loses_its_connection,
    returns_nested,
    returns_number,
    runs_out_of_memory,
)
from .worker_process import (
    WorkerProcess,
    database_settings,
    eventually,
    running_workers,
    stored,
)

RESULT_MAX_BYTES = 1_000_000


@pytest.fixture(scope="module")
def transactional_db(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    """In place of pytest-django's: one worker serves the whole module, so its row is not flushed after each test."""
    with django_db_blocker.unblock():
        yield
        call_command("flush", interactive=False, verbosity=0)
        connection.close()


@pytest.fixture(scope="module")
def shared_worker(transactional_db: None) -> Iterator[WorkerProcess]:
    """A worker of one executor, whose tasks follow each other closely: none may harm the next."""
    with running_workers() as workers:
        yield workers.run("-c", "1", "-X", "complex", RESULT_MAX_BYTES=RESULT_MAX_BYTES)


@pytest.fixture
def worker(shared_worker: WorkerProcess) -> Iterator[WorkerProcess]:
    executors = shared_worker.executors()
    yield shared_worker
    assert sleeps.delay(0).get(timeout=30) == 0, shared_worker.log
    assert shared_worker.executors() == executors, "a task took its executor with it"
    assert check_invariants() == []


def failure(result: AsyncResult) -> dict[str, Any]:
    """Wait for a task's failure and return its stored error."""
    row = stored(result)
    assert (row.state, row.attempt, result.state) == (State.FAILED, 1, "FAILURE")
    assert TaskAttempt.objects.get(task_id=result.id).outcome == Ending.FAILED
    return row.error


def enqueue_row(**columns: Any) -> AsyncResult:
    """Enqueue ``echo`` with a row that no version of djqueue has written, as a bug or a hand might leave it."""
    with transaction.atomic():
        result = echo.delay("lemon")
        Task.objects.filter(id=result.id).update(**columns)
    return result


# Results


def test_a_task_runs_and_its_result_is_stored(worker: WorkerProcess) -> None:
    result = add.delay(2, 3)

    assert result.get(timeout=30) == 5
    row = stored(result)
    assert (row.state, row.attempt, row.value, row.error) == (State.SUCCEEDED, 1, 5, None)
    created = Task.objects.get(id=result.id).created_at
    assert created <= row.started_at <= row.finished_at <= timezone.now() + datetime.timedelta(seconds=1)
    assert row.worker == Worker.objects.get(pid=worker.pid).name


@pytest.mark.parametrize(
    "value",
    [
        None,
        "lemon",
        "Zitrønen 🍋",
        "\\u0000 as text",
        {"nested": [1, 2.5, True, None]},
        datetime.datetime(2026, 3, 29, 2, 30, tzinfo=datetime.UTC),
        datetime.timedelta(days=1.5),
        b"\x00\xff",
    ],
    ids=repr,
)
def test_values_come_back_as_they_went(worker: WorkerProcess, value: object) -> None:
    assert echo.delay(value).get(timeout=30) == value


def test_a_coroutine_function_runs(worker: WorkerProcess) -> None:
    assert sleeps_async.delay(0.01).get(timeout=30) == 0.01


def test_a_task_whose_result_is_ignored_leaves_nothing(worker: WorkerProcess) -> None:
    result = forgettable.delay("x")

    eventually(lambda: not Task.objects.filter(id=result.id).exists())
    assert not TaskResult.objects.filter(task_id=result.id).exists()


def test_failures_of_ignored_results_are_stored(worker: WorkerProcess) -> None:
    """A monitor has to show them, whatever ``store_errors_even_if_ignored`` says."""
    result = fails.apply_async(("sour",), ignore_result=True)

    assert result.get() is None
    assert stored(result).error["exc_type"] == "TooSour"


def test_a_task_enqueues_another(worker: WorkerProcess) -> None:
    inner = AsyncResult(enqueues.delay("from inside").get(timeout=30))

    assert stored(inner).state == State.SUCCEEDED
    assert Mark.objects.filter(name="from inside").count() == 1


def test_a_bound_task_knows_its_request(worker: WorkerProcess) -> None:
    result = describes_itself.apply_async((1,), {"key": "value"}, priority=7)

    assert result.get(timeout=30) == {
        "id": result.id,
        "name": "tests.site.tasks.describes_itself",
        "args": [1],
        "kwargs": {"key": "value"},
        "retries": 0,
        "called_directly": False,
        "hostname": Worker.objects.get(pid=worker.pid).name,
        "delivery_info": {"exchange": "", "routing_key": "default", "priority": 7, "redelivered": False},
        "unknown": None,
        "pid": worker.executors()[0].pid,
    }


def test_what_a_task_prints_and_logs_appears_in_the_output_of_the_worker(worker: WorkerProcess) -> None:
    prints.delay("printed by a task").get(timeout=30)
    logs.delay("logged by a task").get(timeout=30)

    eventually(lambda: worker.log.count("printed by a task\n") == 2, what="stdout and stderr")
    worker.wait_for_log("logged by a task")


# Failures


def test_an_error_is_stored_with_its_traceback_and_raised_to_whoever_asks(worker: WorkerProcess) -> None:
    result = fails.delay("a lemon")

    error = failure(result)

    assert (error["exc_module"], error["exc_type"]) == ("tests.site.tasks", "TooSour")
    assert error["exc_message"] == ["a lemon", 42]
    with pytest.raises(TooSour, match="a lemon") as raised:
        result.get()
    assert raised.value.args == ("a lemon", 42)
    assert "tasks.py" in result.traceback
    assert "raise TooSour(message, 42)" in result.traceback


def test_the_cause_of_an_error_is_in_its_traceback(worker: WorkerProcess) -> None:
    error = failure(fails_with_cause.delay())

    assert "invalid literal for int() with base 10: 'lemon'" in error["traceback"]
    assert "direct cause" in error["traceback"]


def test_an_error_that_cannot_be_rebuilt_is_a_failure_all_the_same(worker: WorkerProcess) -> None:
    result = fails_stubbornly.delay()

    assert failure(result)["exc_type"] == "Stubborn"
    with pytest.raises(Exception, match="lemon"):
        result.get()


def test_an_unknown_name_is_a_failure_that_names_the_nearest(worker: WorkerProcess) -> None:
    result = send_task("tests.site.tasks.ad", (1, 2))

    error = failure(result)

    assert error["exc_type"] == "NotRegistered"
    assert "Did you mean 'tests.site.tasks.add'?" in error["exc_message"][0]
    with pytest.raises(NotRegistered):
        result.get()


@pytest.mark.parametrize(
    "columns",
    [
        {"args": {"value": 1}},
        {"args": "x"},
        {"args": 7},
        {"kwargs": ["value"]},
        {"kwargs": "value"},
        {"kwargs": 7},
        {"args": [], "kwargs": [["value", 1]]},
        {"args": [{"__type__": "datetime", "__value__": "lemon"}]},
        {"args": [{"__type__": "uuid", "__value__": None}]},
        {"options": ["ignore_result"]},
        {"options": "ignore_result"},
    ],
    ids=json.dumps,
)
def test_a_row_that_makes_no_sense_is_a_failure(worker: WorkerProcess, columns: dict[str, Any]) -> None:
    error = failure(enqueue_row(**columns))

    assert error["exc_message"]


def test_arguments_that_do_not_fit_are_a_failure(worker: WorkerProcess) -> None:
    error = failure(unchecked.delay(1, 2, 3))

    assert error["exc_type"] == "TypeError"
    assert "takes 1 positional argument but 3 were given" in error["exc_message"][0]


def test_a_result_that_json_cannot_hold_is_a_failure(worker: WorkerProcess) -> None:
    result = returns_unencodable.delay()

    assert "builtins.object is not JSON serializable" in failure(result)["exc_message"][0]
    with pytest.raises(EncodeError, match="returns_unencodable cannot be stored"):
        result.get()


def test_a_result_above_the_size_limit_is_a_failure(worker: WorkerProcess) -> None:
    fits = returns_at_length.delay(RESULT_MAX_BYTES - 2)
    too_long = returns_at_length.delay(RESULT_MAX_BYTES - 1)

    error = failure(too_long)

    assert error["exc_type"] == "EncodeError"
    assert "at most 1,000,000 bytes" in error["exc_message"][0]
    assert "got: 1,000,001" in error["exc_message"][0]
    assert len(fits.get(timeout=30)) == RESULT_MAX_BYTES - 2


def test_the_size_limit_counts_bytes_not_characters(worker: WorkerProcess) -> None:
    error = failure(echo.delay("ü" * (RESULT_MAX_BYTES // 2)))

    assert error["exc_type"] == "EncodeError"


def test_a_value_that_postgresql_refuses_is_a_failure_and_its_batch_is_stored(worker: WorkerProcess) -> None:
    with transaction.atomic():
        before = [echo.delay(number) for number in range(20)]
        refused = returns_number.delay(200_000)
        after = [echo.delay(number) for number in range(20)]

    error = failure(refused)

    assert error["exc_type"] == "EncodeError"
    assert "PostgreSQL cannot store the result" in error["exc_message"][0]
    assert [r.get(timeout=30) for r in before + after] == [*range(20), *range(20)]
    assert stored(after[-1]).attempt == 1


@pytest.mark.parametrize("depth", [500, 5_000, 50_000])
def test_a_deeply_nested_result_is_stored_or_a_failure(worker: WorkerProcess, depth: int) -> None:
    row = stored(returns_nested.delay(depth))

    assert row.attempt == 1
    assert row.state == State.SUCCEEDED or row.error["exc_type"] == "EncodeError"


def test_a_result_too_complex_for_postgresql_is_a_failure_and_its_batch_is_stored(shared_worker: WorkerProcess) -> None:
    database = database_settings()
    database["OPTIONS"] = {**database["OPTIONS"], "options": "-c max_stack_depth=100kB"}
    with running_workers(database) as workers:
        with transaction.atomic():
            before = echo.apply_async(("before",), queue="complex")
            refused = returns_nested.apply_async((900,), queue="complex")
            after = echo.apply_async(("after",), queue="complex")

        workers.run("-c", "1", "-Q", "complex")

        assert "stack depth limit exceeded" in failure(refused)["exc_message"][0]
        assert (before.get(timeout=30), after.get(timeout=30)) == ("before", "after")


# Tasks that misbehave


@pytest.mark.parametrize(
    ("task", "kind"),
    [
        (system_exit, "SystemExit"),
        (interrupts, "KeyboardInterrupt"),
        (recurses, "RecursionError"),
        (runs_out_of_memory, "MemoryError"),
    ],
    ids=["SystemExit", "KeyboardInterrupt", "RecursionError", "MemoryError"],
)
def test_whatever_a_task_raises_is_a_failure_and_does_not_end_its_executor(
    worker: WorkerProcess, task: Any, kind: str
) -> None:
    assert failure(task.delay())["exc_type"] == kind


def test_waiting_for_a_result_inside_a_task_is_a_failure(worker: WorkerProcess) -> None:
    error = failure(waits_for.delay(noop.delay().id))

    assert "never call get() within a task" in error["exc_message"][0]


@pytest.mark.parametrize(
    "task",
    [leaves_transaction_broken, breaks_its_transaction, begins_by_hand, loses_its_connection],
    ids=lambda task: task.__name__,
)
def test_a_task_that_leaves_its_connection_in_disorder_harms_no_task_after_it(worker: WorkerProcess, task: Any) -> None:
    name = f"after {task.__name__}"
    stored(task.delay())

    assert stored(marks.delay(name)).state == State.SUCCEEDED

    assert Mark.objects.filter(name=name).count() == 1
    assert not Mark.objects.filter(name="never committed").exists()


def test_what_a_task_rolled_back_is_not_there(worker: WorkerProcess) -> None:
    failure(marks_then_fails.delay("rolled back"))

    assert not Mark.objects.filter(name="rolled back").exists()
