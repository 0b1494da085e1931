"""How a worker is asked to stop: drain, then interrupt, then end now. Signals here are those of the OS."""

from __future__ import annotations

import signal
from pathlib import Path

import pytest

from djqueue.models import ReadyTask, RunningTask, TaskAttempt, TaskResult, Worker
from djqueue.results import AsyncResult
from djqueue.states import State

from .site.worker_tasks import begins_and_sleeps, cleans_up, does_not_listen, notes
from .worker_process import (
    Notes,
    WorkerProcess,
    Workers,
    all_finished,
    attempts_in_line,
    eventually,
    interrupt,
    is_alive,
    is_running,
    stored,
)

FOREVER = 60.0
"""Seconds that no task here is meant to take."""


def busy_with_a_queue_behind(
    worker: WorkerProcess, file: Notes, seconds: float = 0.0, until: str = ""
) -> tuple[AsyncResult, list[str]]:
    """Make the worker's only executor run one slow task while others wait in it; return the slow one and those."""
    # Short runs teach the worker to send many of these at once.
    taught = notes.delay_many(((file.path, "short"), {}) for _ in range(200))
    eventually(all_finished(taught))
    calls = [((file.path, "slow", seconds, until), {}), *(((file.path, "behind"), {}) for _ in range(20))]
    slow, *behind = notes.delay_many(calls)
    eventually(lambda: "slow" in file.texts())
    return slow, [result.id for result in behind]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_the_first_signal_lets_finish_what_runs_and_releases_what_waits(
    workers: Workers, file: Notes, number: signal.Signals
) -> None:
    worker = workers.run("-c", "1")
    slow, behind = busy_with_a_queue_behind(worker, file, 1.5)

    worker.send(number)

    assert worker.wait() == 0
    assert (stored(slow).state, stored(slow).attempt) == (State.SUCCEEDED, 1)
    assert "behind" not in file.texts()
    assert attempts_in_line() == dict.fromkeys(behind, 0)
    assert not RunningTask.objects.exists()
    assert not TaskAttempt.objects.exists()
    assert not Worker.objects.exists()
    assert not worker.survivors()
    assert ": drain, 1 running" in worker.log


def test_a_draining_worker_gives_back_at_once_what_waits_and_claims_nothing(workers: Workers, file: Notes) -> None:
    draining = workers.run("-c", "1", "-n", "draining")
    go_on = Path(file.path).with_suffix(".go-on")
    slow, behind = busy_with_a_queue_behind(draining, file, until=str(go_on))

    draining.send(signal.SIGTERM)
    draining.wait_for_log("drain")
    workers.run("-c", "1", "-n", "other")
    late = notes.delay(file.path, "late")

    for task_id in (late.id, *behind):
        row = stored(AsyncResult(task_id))
        assert (row.worker.partition("@")[0], row.attempt) == ("other", 1)
    assert is_running(slow)
    eventually(lambda: Worker.objects.filter(draining=True).count() == 1)
    go_on.touch()
    assert stored(slow).worker.partition("@")[0] == "draining"
    assert draining.wait() == 0


def test_the_second_signal_interrupts_what_runs_and_puts_it_back_in_line(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "2")
    results = [cleans_up.delay(file.path, FOREVER) for _ in range(2)]
    file.await_lines(2)

    interrupt(worker)

    assert worker.wait() == 3
    assert sorted(file.texts()) == ["begun", "begun", "cleaned", "cleaned"]
    assert attempts_in_line() == {result.id: 0 for result in results}
    assert not TaskAttempt.objects.exists()
    assert not Worker.objects.exists()
    assert not worker.survivors()
    assert "soft stop, 2 running" in worker.log


def test_the_second_signal_interrupts_a_coroutine(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    result = begins_and_sleeps.delay(file.path, FOREVER)
    file.await_lines(1)

    interrupt(worker)

    assert worker.wait() == 3
    assert attempts_in_line() == {result.id: 0}


def test_an_interrupted_task_runs_again_in_another_worker_as_its_first_attempt(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    result = notes.delay(file.path, "interrupted", 2)
    file.await_lines(1)
    interrupt(worker)
    assert worker.wait() == 3

    workers.run("-c", "1")

    assert stored(result).attempt == 1
    assert result.get() == 1
    assert len(file.lines()) == 2


def test_a_task_that_ignores_the_interruption_is_killed_and_put_back_in_line(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    result = does_not_listen.delay(file.path, FOREVER)
    file.await_lines(1)

    interrupt(worker)

    assert worker.wait() == 3
    assert file.lines()[1] == ["ignored", "Interrupted"]
    assert attempts_in_line() == {result.id: 0}
    assert not TaskAttempt.objects.exists()
    assert not Worker.objects.exists()
    eventually(lambda: not worker.survivors())


def test_the_third_signal_ends_the_worker_now_and_the_lease_returns_its_tasks(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1", LEASE=2)
    (executor,) = worker.executors()
    result = does_not_listen.delay(file.path, FOREVER)
    file.await_lines(1)
    interrupt(worker)
    file.await_lines(2)

    worker.send(signal.SIGTERM)

    assert worker.wait() == 128 + signal.SIGTERM
    eventually(lambda: not is_alive(executor))
    assert is_running(result)
    workers.run("-c", "1", LEASE=2)
    file.await_lines(3)
    assert TaskAttempt.objects.get().task_id.hex == result.id.replace("-", "")


def test_a_drain_that_takes_too_long_ends_by_interruption(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1", "--drain-timeout", "0.5")
    result = cleans_up.delay(file.path, FOREVER)
    file.await_lines(1)

    worker.send(signal.SIGTERM)

    assert worker.wait() == 3
    assert file.texts() == ["begun", "cleaned"]
    assert attempts_in_line() == {result.id: 0}


def test_a_drain_that_ends_in_time_is_not_interrupted(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1", "--drain-timeout", str(FOREVER))
    result = notes.delay(file.path, "short", 0.5)
    file.await_lines(1)

    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert stored(result).attempt == 1


def test_ctrl_c_at_a_terminal_reaches_all_processes_and_drains(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "2")
    result = notes.delay(file.path, "running", 1)
    file.await_lines(1)

    worker.send_to_group(signal.SIGINT)

    assert worker.wait() == 0
    row = stored(result)
    assert (row.state, row.attempt) == (State.SUCCEEDED, 1)
    assert len(file.lines()) == 1
    assert "Traceback" not in worker.log
    assert "KeyboardInterrupt" not in worker.log


def test_ctrl_c_twice_at_a_terminal_interrupts(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    result = cleans_up.delay(file.path, FOREVER)
    file.await_lines(1)

    worker.send_to_group(signal.SIGINT)
    worker.wait_for_log("drain")
    worker.send_to_group(signal.SIGINT)

    assert worker.wait() == 3
    assert attempts_in_line() == {result.id: 0}
    assert file.texts() == ["begun", "cleaned"]


@pytest.mark.parametrize("pool", ["processes", "solo"])
def test_an_idle_worker_ends_at_once_and_its_row_is_gone(workers: Workers, pool: str) -> None:
    worker = workers.run("-P", pool)
    assert Worker.objects.count() == 1

    worker.send(signal.SIGTERM)

    assert worker.wait() == 0
    assert not Worker.objects.exists()
    assert "stopped: 0 attempts settled" in worker.log


def test_a_solo_worker_drains_at_ctrl_c(workers: Workers, file: Notes) -> None:
    worker = workers.run("-P", "solo", program=True)
    running, waiting = notes.delay(file.path, "running", 1), notes.delay(file.path, "waiting", 1)
    file.await_lines(1)

    worker.send_to_group(signal.SIGINT)

    assert worker.wait() == 0
    assert stored(running).attempt == 1
    assert attempts_in_line() == {waiting.id: 0}
    assert not Worker.objects.exists()
    assert "Traceback" not in worker.log


def test_a_solo_worker_interrupts_its_task_at_the_second_signal(workers: Workers, file: Notes) -> None:
    worker = workers.run("-P", "solo")
    result = cleans_up.delay(file.path, FOREVER)
    file.await_lines(1)

    interrupt(worker)

    assert worker.wait() == 3
    assert file.texts() == ["begun", "cleaned"]
    assert attempts_in_line() == {result.id: 0}


def test_workers_started_and_stopped_in_the_middle_of_many_tasks_lose_none_and_run_none_twice(
    workers: Workers, file: Notes
) -> None:
    results = notes.delay_many(((file.path, place, 0.002), {}) for place in range(1500))

    for reached in (200, 500, 800):
        worker = workers.run("-c", "2")
        file.await_lines(reached)
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        assert not RunningTask.objects.exists()
        assert TaskResult.objects.count() + ReadyTask.objects.count() == len(results)

    workers.run("-c", "2")
    eventually(all_finished(results))
    assert sorted(map(int, file.texts())) == list(range(1500))
    assert set(TaskResult.objects.values_list("attempt", flat=True)) == {1}
