"""Moving tasks by hand while workers take them: each is in one place, and runs once."""

from __future__ import annotations

from collections.abc import Callable
from datetime import timedelta
from random import Random

from django.db import connection
from django.utils import timezone

from djqueue.control import pause, resume
from djqueue.doctor import check_invariants
from djqueue.models import ParkedTask, ReadyTask, RunningTask, ScheduledTask, Task, TaskResult
from djqueue.records import Outcome
from djqueue.serializers import encode_error
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.lines import BEFORE_ALL, purge_line
from djqueue.store.pauses import bring_forward, put_off
from djqueue.store.rearrange import move, reschedule, run_now

from .conftest import DEFAULT, Session
from .many_tasks import assert_none_lost, enqueue_many, runs_beyond_the_first
from .site.cluster_limits import one_at_a_time
from .site.tasks import noop
from .worker_process import Notes, Workers, all_finished, eventually

TASKS = 600


def test_operators_and_workers_move_the_same_tasks_at_once(workers: Workers, file: Notes) -> None:
    for name in ("one", "other"):
        workers.run("-c", "2", "-n", name)
    results = enqueue_many(file, TASKS, seconds=0.01)
    ids = [result.id for result in results]
    random = Random(7)
    moved = 0

    def disturb() -> bool:
        nonlocal moved
        some = random.sample(ids, 60)
        with connection.cursor() as cursor:
            match random.randrange(4):
                case 0:
                    moved += len(move(cursor, some, queue=random.choice(["default", "mail", "slow"])))
                case 1:
                    moved += len(move(cursor, some, priority=random.randrange(-3, 4)))
                case 2:
                    soon = timezone.now() + timedelta(milliseconds=random.randrange(300))
                    moved += len(reschedule(cursor, some, soon))
                case _:
                    moved += len(run_now(cursor, some))
        return all_finished(results)()

    eventually(disturb, timeout=60, what="all results")
    assert moved > 100
    assert_none_lost(file, results)
    assert runs_beyond_the_first(file) == 0


def test_what_another_holds_is_left_alone(connect: Callable[[], Session]) -> None:
    """A claim that has not committed keeps its task, whatever is asked of it meanwhile."""
    claiming = connect()
    results = [noop.delay() for _ in range(4)]
    worker = claiming.new_worker()
    claiming.sql("BEGIN")
    (held, *_) = claiming(claim, worker, [DEFAULT], 1)
    ids = [result.id for result in results]
    with connection.cursor() as cursor:
        assert set(move(cursor, ids, queue="mail")) == set(ids) - {held.id}
        assert reschedule(cursor, [held.id], timezone.now()) == set()
        error = encode_error(ValueError("gone"), with_traceback=False)
        tasks, joined = purge_line(cursor, "mail", BEFORE_ALL, error, 2)
        assert (tasks, joined.ids) == (2, [])
    claiming.sql("COMMIT")
    assert Task.objects.get(pk=held.id).queue == "default"
    assert RunningTask.objects.filter(pk=held.id).exists()
    assert (ReadyTask.objects.count(), TaskResult.objects.count(), ScheduledTask.objects.count()) == (1, 2, 0)


def test_what_a_limit_has_in_hand_is_left_alone(session: Session, worker: int) -> None:
    """One is in front of its line with a slot, another parked: moving them would cost the slot, or the turn."""
    ids = [one_at_a_time.delay("A").id for _ in range(3)]
    (first,) = session(claim, worker, [DEFAULT], 10)
    session(conclude, worker, "w", [Outcome.succeeded(first.id, first.attempt, "null", 1e9, 1e9)])
    assert (ReadyTask.objects.get().queue, ParkedTask.objects.count()) == ("default!", 1)
    with connection.cursor() as cursor:
        for done in (
            move(cursor, ids, queue="mail"),
            move(cursor, ids, priority=3),
            reschedule(cursor, ids, timezone.now()),
            run_now(cursor, ids),
        ):
            assert not done
    assert check_invariants() == []


def test_what_a_pause_has_put_off_is_rescheduled_for_good(session: Session, worker: int) -> None:
    task_id = noop.delay().id
    pause(task=noop.name)
    (claimed,) = session(claim, worker, [DEFAULT], 1)
    session(put_off, worker, [(claimed.id, claimed.attempt, "2090-01-01")])
    tomorrow = timezone.now() + timedelta(days=1)
    with connection.cursor() as cursor:
        assert reschedule(cursor, [task_id], tomorrow) == {task_id}
    resume(task=noop.name)
    session(bring_forward, None)
    assert ScheduledTask.objects.get().run_at == tomorrow


def test_finished_and_running_tasks_are_not_rearranged(session: Session, worker: int) -> None:
    noop.delay()
    (running,) = session(claim, worker, [DEFAULT], 1)
    with connection.cursor() as cursor:
        for done in (
            move(cursor, [running.id], queue="mail"),
            run_now(cursor, [running.id]),
            reschedule(cursor, [running.id], timezone.now()),
        ):
            assert not done
    assert check_invariants() == []
