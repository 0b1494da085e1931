"""In which order tasks run, when, and in which executor."""

from __future__ import annotations

import datetime

from django.db import connection
from django.db.models import F
from django.utils import timezone

from djqueue.models import Queue, ReadyTask, Task, TaskResult, Worker
from djqueue.states import State

from .site.tasks import fails, noop, sleeps
from .site.worker_tasks import notes
from .worker_process import (
    Notes,
    Workers,
    all_finished,
    attempts_in_line,
    eventually,
    is_running,
    stored,
)

# Order


def test_the_higher_priority_runs_first_and_within_one_the_first_in_line(workers: Workers, file: Notes) -> None:
    for priority in (0, -100, 9, 100, -1):
        for place in range(20):
            notes.apply_async((file.path, f"{priority}/{place}"), priority=priority)

    workers.run("-c", "1")

    file.await_lines(100)
    expected = [f"{priority}/{place}" for priority in (100, 9, 0, -1, -100) for place in range(20)]
    assert file.texts() == expected


def test_tasks_run_in_the_order_they_came_in(workers: Workers, file: Notes) -> None:
    notes.delay_many(((file.path, place), {}) for place in range(1200))

    workers.run("-c", "1")

    file.await_lines(1200)
    assert [int(text) for text in file.texts()] == list(range(1200))


def test_the_first_queue_named_is_served_first(workers: Workers, file: Notes) -> None:
    for queue in ("a", "c", "b"):
        for place in range(20):
            notes.apply_async((file.path, f"{queue}{place}"), queue=queue)

    workers.run("-c", "1", "-Q", "c,a,b")

    file.await_lines(60)
    assert file.texts() == [f"{queue}{place}" for queue in "cab" for place in range(20)]


def test_queues_of_one_wildcard_take_turns(workers: Workers, file: Notes) -> None:
    for _ in range(10):
        for queue in ("one", "two"):
            notes.apply_async((file.path, queue, 0.02), queue=queue)

    workers.run("-c", "1", "-Q", "*")

    queues = [line[0] for line in file.await_lines(20)]
    assert set(queues[:12]) == {"one", "two"}


def test_a_worker_serves_the_queues_that_its_wildcards_match_and_no_other(workers: Workers, file: Notes) -> None:
    results = {
        queue: notes.apply_async((file.path, queue), queue=queue)
        for queue in ("mail", "mail.fast", "mail.slow", "mailer", "other", "m1", "m22")
    }

    worker = workers.run("-c", "1", "-Q", "mail.*,m?", "-X", "*slow")

    assert "queues=mail.*,m?,-*slow " in worker.log
    eventually(all_finished([results["mail.fast"], results["m1"]]))
    late = notes.apply_async((file.path, "late"), queue="mail.late")
    stored(late)
    assert set(file.texts()) == {"mail.fast", "m1", "late"}
    assert ReadyTask.objects.count() == 5


def test_an_exclusion_leaves_the_rest_of_all_queues(workers: Workers, file: Notes) -> None:
    served, unserved = (notes.apply_async((file.path, queue), queue=queue) for queue in ("quick", "slow"))

    workers.run("-c", "1", "-X", "slow")

    stored(served)
    assert list(attempts_in_line()) == [unserved.id]


def test_a_paused_queue_is_not_served_until_its_pause_ends(workers: Workers, file: Notes) -> None:
    pause = datetime.timedelta(seconds=2.5)
    Queue.objects.create(name="paused", paused_until=timezone.now() + pause)
    paused = notes.apply_async((file.path, "paused"), queue="paused")

    workers.run("-c", "1", LISTEN=False)

    stored(notes.delay(file.path, "other"))
    row = stored(paused)
    assert row.started_at >= Queue.objects.get(name="paused").paused_until


# When


def test_a_countdown_and_an_eta_are_kept(workers: Workers, file: Notes) -> None:
    workers.run("-c", "1")
    began = timezone.now()
    due = {
        notes.apply_async((file.path, "countdown"), countdown=1.2): 1.2,
        notes.apply_async((file.path, "eta"), eta=began + datetime.timedelta(seconds=0.6)): 0.6,
        notes.apply_async((file.path, "past"), eta=began - datetime.timedelta(days=1)): -1,
    }

    delays = {result: stored(result).started_at - began for result in due}

    for result, seconds in due.items():
        assert delays[result].total_seconds() >= seconds
        assert stored(result).attempt == 1
    assert file.texts() == ["past", "eta", "countdown"]


def test_a_scheduled_task_becomes_due_while_no_worker_runs(workers: Workers, file: Notes) -> None:
    result = notes.apply_async((file.path, "scheduled"), countdown=0.2)

    workers.run("-c", "1")

    assert stored(result).attempt == 1


def test_an_idle_worker_is_woken_by_a_new_task(workers: Workers) -> None:
    worker = workers.run("-c", "1", POLL_MAX=600)
    assert "wake-ups=notify" in worker.log
    noop.delay().get(timeout=30)
    waits = []
    for _ in range(4):
        # The pauses between looks double. After so long without one, the next is about as long away.
        eventually(lambda: idle_seconds() > 0.27, what="an idle worker")
        result = noop.delay()
        started = stored(result).started_at
        waits.append((started - Task.objects.get(id=result.id).created_at).total_seconds())

    assert min(waits) < 0.05


def idle_seconds() -> float:
    """Return for how long the worker's connection that claims has asked nothing."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT extract(epoch FROM min(clock_timestamp() - state_change))::float FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'djqueue worker %%' AND state = 'idle'"
        )
        (seconds,) = cursor.fetchone()
    return seconds or 0.0


def test_a_worker_that_does_not_listen_polls(workers: Workers) -> None:
    worker = workers.run("-c", "1", LISTEN=False, POLL_MAX=0.3)
    assert "wake-ups=polling" in worker.log

    for _ in range(3):
        eventually(lambda: idle_seconds() > 0.1, what="an idle worker")
        row = stored(noop.delay())
        assert row.state == State.SUCCEEDED

    # Also a queue and a priority that it has never seen.
    assert stored(noop.apply_async(queue="unseen", priority=-7)).state == State.SUCCEEDED


# Who


def test_a_long_task_does_not_hold_up_short_ones(workers: Workers, file: Notes) -> None:
    workers.run("-c", "2")
    long = sleeps.delay(60)
    eventually(lambda: is_running(long))

    short = [noop.delay() for _ in range(200)]

    eventually(all_finished(short))
    assert is_running(long)


def test_short_tasks_claimed_behind_one_that_turns_out_slow_run_in_another_executor(
    workers: Workers, file: Notes
) -> None:
    workers.run("-c", "2")
    # Short runs teach the worker to send many of these at once.
    eventually(all_finished(notes.delay_many(((file.path, "taught"), {}) for _ in range(300))))

    calls = [((file.path, "slow", 60.0), {}), *(((file.path, "short"), {}) for _ in range(200))]
    slow, *short = notes.delay_many(calls)

    eventually(all_finished(short))
    assert is_running(slow)
    assert file.texts().count("short") == 200


def test_what_waits_in_a_worker_for_longer_than_a_second_goes_back_in_line_uncounted(
    workers: Workers, file: Notes
) -> None:
    busy = workers.run("-c", "1", "-n", "busy")
    eventually(all_finished(notes.delay_many(((file.path, "taught"), {}) for _ in range(300))))

    calls = [((file.path, "slow", 60.0), {}), *(((file.path, "short"), {}) for _ in range(50))]
    slow, *short = notes.delay_many(calls)

    eventually(lambda: is_running(slow))
    eventually(lambda: ReadyTask.objects.count() == 50, what="the prefetched back in line")
    assert attempts_in_line() == {result.id: 0 for result in short}
    workers.run("-c", "1", "-n", "helper")
    eventually(all_finished(short))
    rows = TaskResult.objects.filter(task_id__in=[result.id for result in short])
    assert {(row.worker.partition("@")[0], row.attempt) for row in rows} == {("helper", 1)}
    assert busy.executors()


def test_every_executor_gets_work(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "3")

    eventually(all_finished(notes.delay_many(((file.path, "short", 0.02), {}) for _ in range(60))))

    assert {int(pid) for _, _, pid in file.lines()} == {executor.pid for executor in worker.executors()}


def test_the_workers_row_counts_what_it_did(workers: Workers) -> None:
    workers.run("-c", "1", HEARTBEAT=0.2)
    results = [noop.delay(), noop.delay(), fails.delay()]
    eventually(all_finished(results))

    eventually(lambda: Worker.objects.filter(succeeded=2, failed=1, lost=0, running=0).exists())
    assert Worker.objects.filter(lease_until__gt=F("heartbeat_at")).count() == 1
