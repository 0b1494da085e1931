"""Every pool runs every kind of task, as many at once as it was told, and loses none."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import psutil
import pytest

from djqueue.models import RunningTask, TaskAttempt, TaskResult, Worker
from djqueue.results import AsyncResult
from djqueue.states import State

from .many_tasks import assert_none_lost, enqueue_many
from .site.models import Mark
from .site.pool_tasks import (
    backend,
    counts_in_a_transaction,
    kills_its_executor,
    meets,
    meets_async,
    shows_progress,
    sleeps_here,
    sleeps_on_the_loop,
    sleeps_there,
    uses_the_orm,
    waits_at_a_gate,
)
from .site.tasks import add
from .worker_process import (
    PATIENCE,
    Kept,
    Notes,
    WorkerProcess,
    Workers,
    all_finished,
    attempts_in_line,
    eventually,
    interrupt,
    stored,
)

POOLS = ["processes", "threads", "asyncio", "gevent"]
EVERY_POOL = [*POOLS, "solo"]
FOREVER = 60.0
"""Seconds that no task here is meant to take."""


def finished(results: list[AsyncResult]) -> list[TaskResult]:
    """Wait for tasks and return the rows of their results, in their order."""
    eventually(all_finished(results), what="all results")
    rows = {str(row.task_id): row for row in TaskResult.objects.all()}
    return [rows[result.id] for result in results]


@pytest.mark.parametrize("pool", EVERY_POOL)
def test_a_pool_runs_plain_functions_and_coroutines(workers: Workers, pool: str) -> None:
    results = [add.delay(1, 2), sleeps_on_the_loop.delay(0), add.delay(3, 4), uses_the_orm.delay("one")]

    workers.run("-P", pool)

    rows = finished(results)
    assert [row.state for row in rows] == [State.SUCCEEDED] * 4
    assert [row.value for row in rows][0::2] == [3, 7]
    assert rows[3].value == 1
    assert {row.attempt for row in rows} == {1}


@pytest.mark.parametrize("task", [meets, meets_async])
@pytest.mark.parametrize(
    ("options", "number", "processes"),
    [
        (["-P", "processes", "-c", "3"], 3, 3),
        (["-P", "threads", "-c", "12"], 12, 1),
        (["-P", "threads", "-c", "4", "--processes", "2"], 8, 2),
        (["-P", "asyncio", "-c", "12"], 12, 1),
        (["-P", "asyncio", "-c", "4", "--processes", "2"], 8, 2),
        (["-P", "gevent", "-c", "12"], 12, 1),
    ],
)
def test_as_many_tasks_run_at_once_as_there_are_slots_and_each_knows_itself(
    workers: Workers, file: Notes, task: object, options: list[str], number: int, processes: int
) -> None:
    workers.run(*options)
    calls = [task.delay(file.path, number) for _ in range(number)]

    rows = finished(calls)

    for result, row in zip(calls, rows, strict=True):
        assert row.value[:2] == [result.id, result.id]
        assert row.value[2:4] == ["nothing", result.id]
    assert len({row.value[4] for row in rows}) == processes


def test_plain_functions_and_coroutines_run_side_by_side_on_asyncio(workers: Workers, file: Notes) -> None:
    workers.run("-P", "asyncio", "-c", "6")

    calls = [task.delay(file.path, 6) for task in [meets, meets_async] * 3]

    assert len({row.value[4] for row in finished(calls)}) == 1


def test_no_more_run_at_once_than_there_are_slots(workers: Workers, file: Notes) -> None:
    workers.run("-P", "threads", "-c", "3")
    results = [sleeps_here.delay(file.path, FOREVER) for _ in range(6)]

    file.await_lines(3)
    eventually(lambda: RunningTask.objects.count() == 3, what="the others to go back in line")

    assert len(file.lines()) == 3
    interrupt(workers.started[0])
    assert workers.started[0].wait() == 3
    assert attempts_in_line() == {result.id: 0 for result in results}


@pytest.mark.parametrize("pool", POOLS)
def test_no_task_is_lost_or_run_twice_among_many(workers: Workers, file: Notes, pool: str) -> None:
    results = enqueue_many(file, 1500, 0.001)

    workers.run("-P", pool, "-c", "4")

    assert_none_lost(file, results)
    assert len(file.lines()) == 1500


def test_a_thousand_coroutines_wait_at_once_in_one_executor(workers: Workers, file: Notes) -> None:
    worker = workers.run("-P", "asyncio", "-c", "1000")
    gate = f"{file.path}.open"
    results = waits_at_a_gate.delay_many(((file.path, gate), {}) for _ in range(1000))

    file.await_lines(1000)
    assert not TaskResult.objects.exists()
    Path(gate).touch()

    eventually(all_finished(results))
    assert len(worker.executors()) == 1
    assert len({pid for (pid,) in file.lines()}) == 1


@pytest.mark.parametrize("pool", ["threads", "asyncio", "gevent"])
def test_all_that_ran_in_an_executor_that_died_was_lost_and_nothing_else(
    workers: Workers, file: Notes, pool: str
) -> None:
    worker = workers.run("-P", pool, "-c", "4")
    (executor,) = worker.executors()
    running = [sleeps_here.delay(file.path, FOREVER) for _ in range(3)]
    file.await_lines(3)
    culprit = kills_its_executor.delay(file.path, 3)

    assert stored(culprit).attempt == 2
    eventually(lambda: TaskAttempt.objects.count() == 4)
    lost = {str(task_id) for task_id in TaskAttempt.objects.values_list("task_id", flat=True)}
    assert lost == {culprit.id, *(result.id for result in running)}
    file.await_lines(6)
    (successor,) = worker.executors()
    assert successor.pid != executor.pid
    worker.wait_for_log("and 3 others")
    interrupt(worker)
    assert worker.wait() == 3


@pytest.mark.parametrize(
    ("pool", "task"),
    [
        ("threads", sleeps_here),
        ("asyncio", sleeps_here),
        ("asyncio", sleeps_there),
        ("threads", sleeps_there),
        ("gevent", sleeps_here),
        ("gevent", sleeps_there),
    ],
)
def test_the_second_signal_interrupts_what_runs_in_every_slot(
    workers: Workers, file: Notes, pool: str, task: object
) -> None:
    worker = workers.run("-P", pool, "-c", "3")
    results = [task.delay(file.path, FOREVER) for _ in range(3)]
    file.await_lines(3)

    interrupt(worker)

    assert worker.wait() == 3
    assert sorted(file.texts()) == ["Interrupted"] * 3 + ["begun"] * 3
    assert attempts_in_line() == {result.id: 0 for result in results}
    assert not TaskAttempt.objects.exists()
    assert not worker.survivors()


@pytest.mark.parametrize(
    ("pool", "task"), [("threads", sleeps_here), ("asyncio", sleeps_there), ("gevent", sleeps_here)]
)
def test_a_drain_lets_finish_what_runs_in_every_slot(workers: Workers, file: Notes, pool: str, task: object) -> None:
    worker = workers.run("-P", pool, "-c", "3")
    results = [task.delay(file.path, 1) for _ in range(3)]
    file.await_lines(3)

    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert {row.state for row in finished(results)} == {State.SUCCEEDED}
    assert not Worker.objects.exists()
    assert not worker.survivors()


@pytest.mark.parametrize("pool", POOLS)
def test_executors_end_when_their_worker_is_killed(workers: Workers, file: Notes, pool: str) -> None:
    worker = workers.run("-P", pool, "-c", "2")
    executors = worker.executors()
    [sleeps_here.delay(file.path, FOREVER) for _ in range(2)]
    file.await_lines(2)

    worker.send(signal.SIGKILL)

    _, alive = psutil.wait_procs(executors, timeout=PATIENCE)
    assert not alive


@pytest.mark.parametrize("pool", EVERY_POOL, scope="module")
def test_a_transaction_that_a_task_left_open_is_none_of_the_next(kept: Kept, pool: str) -> None:
    kept("-P", pool, "-c", "1")

    rows = finished([counts_in_a_transaction.delay() for _ in range(3)])

    assert [row.value for row in rows] == [1, 1, 1]
    assert not Mark.objects.exists()


def test_coroutines_of_one_executor_share_a_few_connections(workers: Workers) -> None:
    workers.run("-P", "asyncio", "-c", "40")

    rows = finished([backend.delay() for _ in range(200)])

    assert 1 < len({row.value for row in rows}) <= 10


@pytest.mark.parametrize("pool", EVERY_POOL, scope="module")
def test_progress_is_shown_while_a_task_runs_and_does_not_flood_the_worker(kept: Kept, file: Notes, pool: str) -> None:
    kept("-P", pool, "-c", "1")
    result = shows_progress.delay(file.path, 20_000)
    file.await_lines(1)

    eventually(lambda: AsyncResult(result.id).info == {"place": 19_999}, what="the last state")

    assert AsyncResult(result.id).state == "PROGRESS"
    assert stored(result).state == State.SUCCEEDED


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-P", "processes", "--processes", "3", "-c", "2"], "expected no --processes with --pool processes"),
        (["-P", "threads", "--processes", "0"], "expected --processes to be 1 to 1024, got: 0"),
        (["-P", "solo", "-c", "2"], "expected --concurrency 1 with --pool solo, got: 2"),
        (["-P", "threads", "-c", "-1"], "expected --concurrency to be 1 to 10000 with --pool threads, got: -1"),
    ],
)
def test_numbers_that_a_pool_cannot_have_are_refused(workers: Workers, options: list[str], message: str) -> None:
    worker: WorkerProcess = workers.start(*options)

    assert worker.wait() == 1
    assert message in worker.log


def test_the_executors_of_a_pool_are_processes_of_their_own(workers: Workers) -> None:
    worker = workers.run("-P", "asyncio")

    assert stored(sleeps_on_the_loop.delay(0)).value not in (worker.pid, os.getpid())
