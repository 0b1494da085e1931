"""Whatever dies, and however: no task is lost, none runs twice at the same time, and what is left is in order."""

from __future__ import annotations

import signal
from collections import Counter

import psutil
import pytest
from django.db import connection, transaction
from django.utils import timezone

from djqueue.models import ReadyTask, RunningTask, TaskAttempt, TaskResult, Worker
from djqueue.states import Ending, State

from .many_tasks import assert_none_lost, enqueue_many, runs_beyond_the_first
from .site.models import Mark
from .site.tasks import exits, kills_its_process, sleeps
from .site.worker_tasks import leaves_a_child_and_dies, marks_steadily, notes, segfaults
from .worker_process import (
    Notes,
    Workers,
    all_finished,
    eventually,
    is_alive,
    stored,
)

# An executor dies


def test_a_task_whose_executor_is_killed_runs_again_and_its_executor_is_replaced(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    (executor,) = worker.executors()
    result = notes.delay(file.path, "patient", 1.0)
    file.await_lines(1)

    executor.kill()

    assert stored(result).attempt == 2
    assert result.get() == 2
    assert file.lines()[0][2] == str(executor.pid)
    assert [attempt for _, attempt, _ in file.lines()] == ["1", "2"]
    (attempt,) = TaskAttempt.objects.filter(task_id=result.id)
    assert attempt.outcome == Ending.LOST
    assert attempt.error["exc_type"] == "WorkerLostError"
    (replacement,) = worker.executors()
    assert replacement.pid != executor.pid
    worker.wait_for_log(f"executor {executor.pid} was killed by OS signal 9 (SIGKILL) while it ran")


@pytest.mark.parametrize(
    ("task", "ending"),
    [(kills_its_process, "SIGKILL"), (segfaults, "SIGSEGV"), (exits, "exited with code 3")],
    ids=["killed", "segfault", "exit"],
)
def test_a_task_that_always_takes_its_executor_with_it_fails_after_the_crash_limit(
    workers: Workers, task: object, ending: str
) -> None:
    worker = workers.run("-c", "1", CRASH_LIMIT=3)

    result = task.delay()

    row = stored(result)
    assert (row.state, row.attempt) == (State.FAILED, 3)
    assert row.error["exc_type"] == "WorkerLostError"
    assert ending in row.error["exc_message"][0]
    assert result.state == "FAILURE"
    attempts = TaskAttempt.objects.filter(task_id=result.id).order_by("attempt")
    assert [(a.attempt, a.outcome) for a in attempts] == [(n, Ending.LOST) for n in (1, 2, 3)]
    assert sleeps.delay(0).get(timeout=30) == 0, worker.log


def test_the_crash_limit_is_a_setting(workers: Workers) -> None:
    workers.run("-c", "1", CRASH_LIMIT=1)

    assert stored(kills_its_process.delay()).attempt == 1


def test_tasks_that_wait_in_a_killed_executor_run_unharmed_and_their_attempt_is_not_counted(
    workers: Workers, file: Notes
) -> None:
    worker = workers.run("-c", "1")
    # Short runs teach the worker to send many of these at once; the first of the next ones will be slow.
    taught = enqueue_many(file, 200, 0)
    eventually(all_finished(taught))
    calls = [((file.path, "slow", 1.5), {}), *(((file.path, "behind"), {}) for _ in range(50))]
    slow, *behind = notes.delay_many(calls)
    eventually(lambda: "slow" in file.texts())

    for executor in worker.executors():
        executor.kill()

    eventually(all_finished([slow, *behind]))
    assert stored(slow).attempt == 2
    attempts = TaskResult.objects.filter(task_id__in=[r.id for r in behind]).values_list("attempt", flat=True)
    assert set(attempts) == {1}
    assert Counter(file.texts())["behind"] == 50


def test_an_executor_whose_forked_child_lives_on_is_known_to_be_dead(workers: Workers, file: Notes) -> None:
    workers.run("-c", "1")

    result = leaves_a_child_and_dies.delay(file.path)

    try:
        assert stored(result).attempt == 2
    finally:
        ((child,),) = file.await_lines(1)
        psutil.Process(int(child)).kill()


def test_rows_that_contradict_others_are_removed_and_harm_no_other_task(workers: Workers, file: Notes) -> None:
    results = enqueue_many(file, 60, 0)
    finished, again = results[20], results[40]
    worker = workers.run("-c", "1", "-Q", "another")
    TaskResult.objects.create(
        task_id=finished.id, state=State.SUCCEEDED, attempt=1, worker="another", value=7, finished_at=timezone.now()
    )
    for twice in results[30:33]:
        ReadyTask.objects.create(queue="default", priority=0, task_id=twice.id, attempt=0)
    RunningTask.objects.create(
        task_id=again.id, attempt=1, worker_id=Worker.objects.get().pk, claimed_at=timezone.now()
    )

    second = workers.run("-c", "1")

    eventually(lambda: not ReadyTask.objects.exists())
    worker.send(signal.SIGTERM)  # it never heard of the task that stands in its name
    assert worker.wait() == 0
    eventually(all_finished(results))
    assert finished.get() == 7
    second.wait_for_log("the queue contradicted itself")
    assert second.process.poll() is None
    assert runs_beyond_the_first(file) <= 1


@pytest.mark.parametrize("payload", ["~", "~soon", "~nan", "~-1e400", "no such queue", "x" * 7000, "~" * 7000])
def test_a_wake_up_that_makes_no_sense_is_ignored(workers: Workers, payload: str) -> None:
    worker = workers.run("-c", "1")
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_notify('djqueue', %s)", (payload,))

    assert sleeps.delay(0).get(timeout=30) == 0
    later = sleeps.apply_async((0,), countdown=0.2)
    assert later.get(timeout=30) == 0
    assert "does not answer" not in worker.log


def test_an_executor_that_dies_with_nothing_to_do_is_replaced(workers: Workers) -> None:
    worker = workers.run("-c", "2")
    first = worker.executors()

    first[0].kill()

    eventually(lambda: first[0] not in worker.executors() and len(worker.executors()) == 2)
    assert first[1] in worker.executors()
    assert sleeps.delay(0).get(timeout=30) == 0
    assert not TaskAttempt.objects.exists()


def test_no_task_is_lost_when_executors_are_killed_in_the_middle_of_many(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "2")
    results = enqueue_many(file)

    for reached in (300, 600, 900):
        file.await_lines(reached)
        executor = eventually(worker.executors)[0]
        executor.kill()

    assert_none_lost(file, results)
    assert TaskAttempt.objects.filter(outcome=Ending.LOST).count() <= 3
    # What was running, and what had ended in the milliseconds that outcomes may gather in an executor.
    assert runs_beyond_the_first(file) <= 3 * 20
    eventually(lambda: len(worker.executors()) == 2)


# A worker dies


def test_no_task_is_lost_when_a_worker_is_killed_in_the_middle_of_many_and_no_process_is_left(
    workers: Workers, file: Notes
) -> None:
    doomed = workers.run("-c", "2", LEASE=2)
    processes = [doomed.fork_server(), *doomed.executors()]
    results = enqueue_many(file)
    file.await_lines(300)

    doomed.send(signal.SIGKILL)

    doomed.wait()
    eventually(lambda: not any(map(is_alive, processes)), what="the end of the fork server and the executors")
    assert not all_finished(results)()
    heir = workers.run("-c", "2", LEASE=2)
    assert_none_lost(file, results)
    heir.wait_for_log("is gone")
    # At most what was running or ended unsettled, never what only waited its turn in an executor.
    assert runs_beyond_the_first(file) <= 500
    eventually(lambda: Worker.objects.count() == 1)


def test_no_task_is_lost_when_the_fork_server_is_killed_in_the_middle_of_many(workers: Workers, file: Notes) -> None:
    doomed = workers.run("-c", "2")
    executors = doomed.executors()
    results = enqueue_many(file)
    file.await_lines(300)

    doomed.fork_server().kill()

    assert doomed.wait() == 2
    eventually(lambda: not any(map(is_alive, executors)), what="the end of the executors")
    assert not RunningTask.objects.exists() or not Worker.objects.exists()
    workers.run("-c", "2")
    assert_none_lost(file, results)


def test_an_executor_ends_in_the_middle_of_its_task_when_nobody_is_left_to_hear_of_it(
    workers: Workers, file: Notes
) -> None:
    worker = workers.run("-c", "1")
    fork_server, (executor,) = worker.fork_server(), worker.executors()
    notes.delay(file.path, "long", 60)
    file.await_lines(1)

    fork_server.kill()
    worker.send(signal.SIGKILL)

    eventually(lambda: not is_alive(executor), what="the end of the executor")


def test_every_task_runs_once_when_two_workers_race(workers: Workers, file: Notes) -> None:
    results = enqueue_many(file, 5000, 0)
    first, second = workers.start("-c", "2", "-n", "first"), workers.start("-c", "2", "-n", "second")
    first.ready()
    second.ready()

    assert_none_lost(file, results)
    assert runs_beyond_the_first(file) == 0
    assert not TaskAttempt.objects.exists()


def test_two_workers_share_the_work(workers: Workers, file: Notes) -> None:
    workers.run("-c", "1", "-n", "first")
    workers.run("-c", "1", "-n", "second")

    results = enqueue_many(file, 400, 0.005)

    assert_none_lost(file, results)
    assert runs_beyond_the_first(file) == 0
    names = TaskResult.objects.values_list("worker", flat=True).distinct()
    assert {name.partition("@")[0] for name in names} == {"first", "second"}


def test_a_worker_stopped_past_its_lease_settles_nothing_and_its_executors_die_before_the_lease_ends(
    workers: Workers, file: Notes
) -> None:
    stopped = workers.run("-c", "2", "-n", "stopped", LEASE=3)
    executors = stopped.executors()
    # One ends while its worker is stopped, so that an outcome lies in the worker's socket; the other goes on.
    ends, goes_on = notes.delay(file.path, "ends", 0.5), marks_steadily.delay(4)
    file.await_lines(1)
    eventually(Mark.objects.exists)

    stopped.send(signal.SIGSTOP)

    (held,) = Worker.objects.all()
    heir = workers.run("-c", "2", "-n", "heir", LEASE=3)
    eventually(lambda: not any(map(is_alive, executors)), what="the watchdog")
    last = Mark.objects.filter(name="1").latest("at").at
    for result in (ends, goes_on):
        row = stored(result)
        assert (row.state, row.attempt, row.worker.partition("@")[0]) == (State.SUCCEEDED, 2, "heir")
    assert last < held.lease_until
    assert last < Mark.objects.filter(name="2").earliest("at").at
    before = list(TaskResult.objects.order_by("task_id").values())

    stopped.send(signal.SIGCONT)

    # Both the one that ran and the one whose outcome it had not read are void.
    stopped.wait_for_log("lost its lease and aborts 2 tasks")
    assert list(TaskResult.objects.order_by("task_id").values()) == before
    heir.send(signal.SIGTERM)
    assert heir.wait() == 0
    # It works on, under a new id.
    result = notes.delay(file.path, "afterwards")
    assert stored(result).worker.partition("@")[0] == "stopped"
    assert not Worker.objects.filter(id=held.id).exists()


def test_an_outcome_whose_lease_is_gone_is_dropped_and_logged(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    late, prompt = notes.delay(file.path, "late", 1.0), notes.delay(file.path, "prompt")
    file.await_lines(1)
    with transaction.atomic():
        RunningTask.objects.get(task_id=late.id).delete()
        TaskResult.objects.create(
            task_id=late.id, state=State.SUCCEEDED, attempt=2, worker="another", value=2, finished_at=timezone.now()
        )

    stored(prompt)

    worker.wait_for_log(f"dropped (first: {late.id})")
    assert (stored(late).worker, late.get()) == ("another", 2)
    assert f"{late.id}] succeeded" not in worker.log


def test_a_worker_stopped_for_less_than_its_lease_loses_nothing(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1", LEASE=20)
    result = notes.delay(file.path, "ends", 0.3)
    file.await_lines(1)
    worker.send(signal.SIGSTOP)
    (executor,) = worker.executors()
    eventually(lambda: executor.status() == psutil.STATUS_SLEEPING)

    worker.send(signal.SIGCONT)

    assert stored(result).attempt == 1
    assert worker.executors() == [executor]
