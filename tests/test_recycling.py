"""Executors that have run their tasks, or grown too large, make way for new ones, and no task notices."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from djqueue.models import TaskAttempt, TaskResult
from djqueue.states import State

from .many_tasks import assert_none_lost, enqueue_many
from .site.pool_tasks import meets, process, sleeps_on_the_loop, takes_memory, waits_at_a_gate
from .site.worker_tasks import notes
from .worker_process import Notes, Workers, all_finished, eventually, is_alive, stored

POOLS = ["processes", "threads", "asyncio", "gevent"]


def processes_of(results: list[Any]) -> Counter[int]:
    eventually(all_finished(results))
    return Counter(stored(result).value for result in results)


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
@pytest.mark.parametrize("most", [1, 7])
def test_an_executor_runs_no_more_tasks_than_it_may(workers: Workers, pool: str, most: int) -> None:
    worker = workers.run("-P", pool, "-c", "2", "--max-tasks-per-child", str(most))
    results = process.delay_many(((), {}) for _ in range(40))

    ran = processes_of(results)

    assert max(ran.values()) <= most
    assert len(ran) >= 40 / most
    assert not TaskAttempt.objects.exists()
    assert {row.attempt for row in TaskResult.objects.all()} == {1}
    # Of the old ones none is left, and nothing about them was alarming.
    eventually(lambda: len([e for e in worker.executors() if is_alive(e)]) <= 4)
    assert "ERROR" not in worker.log


def test_where_executors_start_slowly_the_old_one_goes_on_until_the_next_is_ready(workers: Workers) -> None:
    worker = workers.run("-P", "gevent", "-c", "2", "--max-tasks-per-child", "5")
    (first,) = worker.executors()

    ran = processes_of(process.delay_many(((), {}) for _ in range(40)))

    assert ran[first.pid] >= 5
    eventually(lambda: not is_alive(first), what="the first executor to end")
    assert stored(process.delay()).value != first.pid


@pytest.mark.parametrize("pool", POOLS)
def test_no_task_is_lost_or_run_twice_when_executors_change_often(workers: Workers, file: Notes, pool: str) -> None:
    results = enqueue_many(file, 600, 0.001)

    workers.run("-P", pool, "-c", "3", "--max-tasks-per-child", "10")

    assert_none_lost(file, results)
    assert len(file.lines()) == 600


@pytest.mark.parametrize(("task", "given"), [(notes, ("long", 0)), (waits_at_a_gate, ())])
def test_an_executor_of_many_slots_goes_while_others_of_its_tasks_still_run(
    workers: Workers, file: Notes, task: Any, given: tuple[Any, ...]
) -> None:
    """Its long task ends in peace; meanwhile its successors have the other slots."""
    worker = workers.run("-P", "asyncio", "-c", "4", "--max-tasks-per-child", "5")
    go_on = Path(file.path).with_suffix(".go-on")
    long = task.delay(file.path, *given, str(go_on))
    ((*_, pid),) = file.await_lines(1)

    ran = processes_of([sleeps_on_the_loop.delay(0.01) for _ in range(30)])

    assert len(ran) >= 6
    assert not TaskResult.objects.filter(task_id=long.id).exists()
    go_on.touch()
    row = stored(long)
    assert (row.state, row.attempt) == (State.SUCCEEDED, 1)
    eventually(lambda: int(pid) not in [executor.pid for executor in worker.executors()])


def test_as_many_tasks_as_there_are_slots_run_at_once_also_when_an_executor_changes(
    workers: Workers, file: Notes
) -> None:
    """The fifth task is the first of the next executor, and meets those of the one before."""
    workers.run("-P", "threads", "-c", "6", "--max-tasks-per-child", "4")
    results = [meets.delay(file.path, 6) for _ in range(6)]

    eventually(all_finished(results))

    assert Counter(stored(result).value[4] for result in results).most_common()[0][1] == 4


def test_each_slot_can_have_an_executor_that_goes(workers: Workers, file: Notes) -> None:
    """Each has done its part with its first task, and all of them meet."""
    workers.run("-P", "threads", "-c", "9", "--max-tasks-per-child", "1")
    results = [meets.delay(file.path, 9) for _ in range(9)]

    eventually(all_finished(results))

    assert len({stored(result).value[4] for result in results}) == 9


@pytest.mark.parametrize("pool", POOLS)
def test_an_executor_that_takes_too_much_memory_is_followed_by_another(workers: Workers, pool: str) -> None:
    worker = workers.run("-P", pool, "-c", "1", "--max-memory-per-child", str(250 * 1024))
    (first,) = worker.executors()

    small = stored(process.delay()).value
    large = stored(takes_memory.delay(300)).value

    assert small == large == first.pid
    eventually(lambda: not is_alive(first), what="the large one to end")
    assert stored(process.delay()).value != first.pid
    assert not TaskAttempt.objects.exists()
    assert "ERROR" not in worker.log


@pytest.mark.parametrize("option", ["--max-tasks-per-child", "--max-memory-per-child"])
def test_numbers_below_one_are_refused(workers: Workers, option: str) -> None:
    worker = workers.start(option, "0")

    assert worker.wait() == 1
    assert f"expected {option} to be 1 or more, got: 0" in worker.log
