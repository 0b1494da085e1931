"""``runbeat`` as a process: when it wakes, how it ends, and that any number of beats fire each slot once."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta
from typing import Any

import psutil
import pytest
from django.db import connection, connections
from django.test import override_settings

from djqueue.beat.beat import LONGEST_WAIT
from djqueue.models import Schedule, ScheduleRun, Task, TaskResult
from djqueue.schedules.rules import Fate
from djqueue.store.beat import look, tell_beats

from .beats import new_schedule
from .private_server import ALIAS, PrivateServer, private_database
from .worker_process import WorkerProcess, Workers, database_settings, eventually, is_alive, running_workers, stored

SECOND = timedelta(seconds=1)
SLOTS = """
SELECT count(*), count(DISTINCT (run.schedule_id, run.due_at)),
    count(*) FILTER (WHERE task.id IS NOT NULL),
    coalesce(max(extract(epoch FROM run.fired_at - run.due_at)), 0)::double precision
FROM djqueue_schedulerun AS run
LEFT JOIN djqueue_task AS task ON task.id = run.task_id
WHERE run.fate = 1
"""
# For every schedule: slots between its first and its last one that are not noted.
HOLES = """
SELECT coalesce(sum(extract(epoch FROM last - first)::integer + 1 - fired), 0)
FROM (
    SELECT min(due_at) AS first, max(due_at) AS last, count(*) AS fired
    FROM djqueue_schedulerun WHERE fate = 1 GROUP BY schedule_id
) AS noted
"""


LISTENING = """
SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND query LIKE 'LISTEN %djqueue_beat%'
"""


QUIET = """
SELECT max(state_change) FROM pg_stat_activity
WHERE application_name = 'djqueue beat' AND datname = current_database() AND state = 'idle'
HAVING max(state_change) < clock_timestamp() - interval '1 second'
"""


class Beats:
    """Starts ``runbeat``."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def start(self, *options: str, **settings: Any) -> WorkerProcess:
        return self._workers.start(*options, command="runbeat", **settings)

    def run(self, *options: str, **settings: Any) -> WorkerProcess:
        beat = self.start(*options, **settings)
        beat.wait_for_log("beat ready: ")
        return beat


@pytest.fixture
def beats(workers: Workers) -> Beats:
    return Beats(workers)


def rows(query: str, using: str = "default") -> tuple[Any, ...]:
    with connections[using].cursor() as cursor:
        cursor.execute(query)
        row: tuple[Any, ...] = cursor.fetchone()
        return row


def listening(number: int = 1) -> Callable[[], bool]:
    """Return a condition: so many beats hear of changes."""
    return lambda: rows(LISTENING)[0] >= number


def is_fired(schedule: Schedule, number: int = 1) -> Callable[[], bool]:
    return lambda: ScheduleRun.objects.filter(schedule=schedule, fate=Fate.ENQUEUED).count() >= number


def each_second(number: int) -> datetime:
    """Store schedules that are due each second from the next one on, and tell beats of them; return the first slot."""
    pattern = new_schedule("pattern", every=SECOND, enabled=False)
    columns = {f.attname: getattr(pattern, f.attname) for f in Schedule._meta.concrete_fields if not f.primary_key}
    first_slot = look(connection).now.replace(microsecond=0) + SECOND
    columns.update(enabled=True, start_at=first_slot, next_run_at=first_slot)
    Schedule.objects.bulk_create(Schedule(**{**columns, "name": f"s{place}"}) for place in range(number))
    pattern.delete()
    tell_beats("default")
    return first_slot


# Waking


def test_a_schedule_is_fired_by_the_second_and_its_task_runs(beats: Beats, workers: Workers) -> None:
    schedule = new_schedule(every=SECOND)
    beats.run()
    workers.run("-c", "1")
    eventually(is_fired(schedule, 4), what="four slots")
    task = Task.objects.order_by("pk").first()
    assert task is not None

    class Result:
        id = str(task.pk)

    assert stored(Result()).value == 5  # type: ignore[arg-type]
    times = list(ScheduleRun.objects.filter(schedule=schedule).order_by("due_at").values_list("due_at", flat=True))
    assert {later - earlier for earlier, later in itertools.pairwise(times)} == {SECOND}


def test_a_beat_hears_of_a_new_schedule(beats: Beats) -> None:
    """It would look again by itself only after half a minute."""
    beats.run()
    eventually(listening(), what="the beat to listen")
    began = time.monotonic()
    schedule = new_schedule(every=timedelta(milliseconds=300))
    eventually(is_fired(schedule), what="the first slot")
    assert time.monotonic() - began < LONGEST_WAIT - 5


def test_without_listening_a_beat_looks_every_half_minute(beats: Beats) -> None:
    beat = beats.run(LISTEN=False)
    assert "changes=polling" in beat.log
    assert not listening()()


def test_an_idle_beat_sends_nothing(beats: Beats) -> None:
    """Thirty seconds lie between two looks; what it listens on is another connection."""
    new_schedule(every=timedelta(hours=1))
    beats.run()
    eventually(listening())
    quiet = eventually(lambda: rows(QUIET), what="a second without a statement")
    deadline = time.monotonic() + 3
    while time.monotonic() < deadline:
        assert rows(QUIET) == quiet
        time.sleep(0.2)


# Ending


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_os_signal_ends_a_beat(beats: Beats, number: int) -> None:
    new_schedule(every=SECOND)
    beat = beats.run()
    beat.send(number)
    assert beat.wait() == 0
    assert "beat stopped" in beat.log


def test_once_fires_what_is_due_and_ends(beats: Beats) -> None:
    due = new_schedule("due", due_at=look(connection).now - SECOND)
    later = new_schedule("later", every=timedelta(hours=1))
    beat = beats.start("--once")
    assert beat.wait() == 0
    assert "1 schedules were due, 1 tasks enqueued" in beat.log
    assert is_fired(due)()
    assert not is_fired(later)()


def test_the_second_name_of_the_command(beats: Beats, workers: Workers) -> None:
    beat = workers.start("--once", command="djqueue_beat", program=True)
    assert beat.wait() == 0


# Refusing


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"ALWAYS_EAGER": True}, "expected DJQUEUE['ALWAYS_EAGER'] to be off"),
        (
            {"SCHEDULES": {"x": {"task": "t", "schedule": "61 * * * *"}}},
            "schedule 'x', schedule: expected a cron string, got: '61 * * * *'",
        ),
        ({"SCHEDULES": {"x": {"task": "t", "shedule": 5}}}, "unknown key 'shedule'. Did you mean 'schedule'?"),
        ({"SCHEDULES": {"x": {"task": "t", "schedule": 5, "jitter": -1}}}, "jitter: expected seconds or a timedelta"),
        ({"IMPORTS": ["tests.site.broken_tasks"]}, "the lemons are sold out"),
    ],
)
def test_a_beat_does_not_start_with_settings_that_make_no_sense(beats: Beats, settings: Any, said: str) -> None:
    beat = beats.start(**settings)
    assert beat.wait() == 1
    assert said in beat.log


def test_a_beat_does_not_start_without_its_tables(beats: Beats) -> None:
    beat = beats.start(database={**database_settings(), "NAME": "template1"})
    assert beat.wait() == 1
    assert "run `manage.py migrate` first" in beat.log


# Dying, and the database


def test_three_beats_of_which_one_is_killed_again_and_again_fire_each_slot_once(beats: Beats) -> None:
    """The full run, 60 s with 200 schedules, is the same with BEAT_SECONDS=60 in the environment."""
    total_seconds = float(os.environ.get("BEAT_SECONDS", "9"))
    kill_every = total_seconds / 6
    alive = [beats.start("-l", "warning") for _ in range(3)]
    eventually(listening(3), what="three beats")
    first_slot = each_second(200)
    began = time.monotonic()
    kills = 0
    while time.monotonic() - began < total_seconds:
        if time.monotonic() - began > (kills + 1) * kill_every - kill_every / 2:
            victim = alive.pop(0)
            victim.send(signal.SIGKILL)
            victim.wait()
            alive.append(beats.start("-l", "warning"))
            kills += 1
        time.sleep(0.05)
    last_slot = look(connection).now.replace(microsecond=0)
    eventually(lambda: rows("SELECT min(next_run_at) FROM djqueue_schedule")[0] > last_slot, what="the last slot")
    eventually(listening(3), what="the last of them")  # one that is still starting just ends
    for beat in alive:
        beat.send(signal.SIGTERM)
        assert beat.wait() == 0, beat.log
    fired, distinct, with_task, latest = rows(SLOTS)
    print(f"{kills} kills, {fired} slots, latest {latest * 1000:.0f} ms after its time")
    assert kills >= 5
    assert fired == distinct == with_task == Task.objects.count()
    assert rows(HOLES)[0] == 0
    assert ScheduleRun.objects.filter(due_at=first_slot).count() == 200
    assert fired >= 200 * int(total_seconds)
    assert not ScheduleRun.objects.exclude(fate=Fate.ENQUEUED).exists()


def test_a_stopped_beat_that_holds_schedules_keeps_them_for_seconds_only(beats: Beats) -> None:
    """Its transaction ends by itself. Here another process holds the locks, as a beat that was stopped would."""
    schedule = new_schedule(every=timedelta(hours=1), due_at=look(connection).now)
    holder = connections.create_connection("default")
    try:
        with holder.cursor() as cursor:
            cursor.execute("BEGIN")
            cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', '2s', true)")
            cursor.execute("SELECT FROM djqueue_schedule FOR UPDATE")
        beats.run()
        eventually(is_fired(schedule), what="the slot, once the holder's transaction has ended")
    finally:
        holder.close()


def test_a_beat_survives_the_loss_of_its_connections(beats: Beats) -> None:
    schedule = new_schedule(every=SECOND)
    beat = beats.run()
    eventually(is_fired(schedule, 1))
    eventually(listening())
    for reached in (2, 4):
        rows(
            "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE datname = current_database() AND application_name LIKE 'djqueue beat%'"
        )
        eventually(is_fired(schedule, reached), what=f"slot {reached}")
    assert beat.process.poll() is None
    assert rows(HOLES)[0] == 0


@pytest.fixture(scope="module")
def private(django_db_setup: None, django_db_blocker: Any) -> Iterator[PrivateServer]:
    with django_db_blocker.unblock(), private_database() as server:
        yield server


@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGKILL])
def test_a_beat_survives_restarts_of_postgresql(private: PrivateServer, how: int, django_db_blocker: Any) -> None:
    with (
        django_db_blocker.unblock(),
        override_settings(DJQUEUE={"DATABASE": ALIAS}),
        running_workers(private.database, using=ALIAS) as workers,
    ):
        schedule = new_schedule(f"restart {how}", every=SECOND)

        def fired() -> int:
            return ScheduleRun.objects.using(ALIAS).filter(schedule=schedule, fate=Fate.ENQUEUED).count()

        beat = workers.start(command="runbeat", database=private.database)
        eventually(lambda: fired() >= 1, what="the first slot")
        connections[ALIAS].close()
        private.stop(how)
        beat.wait_for_log("the database does not answer or refuses")
        private.start()
        before = fired()
        eventually(lambda: fired() > before + 1, what="slots after the restart")
        beat.wait_for_log("the database is back")  # said at the end of the turn that fired them
        beat.send(signal.SIGTERM)
        assert beat.wait() == 0
        runs = ScheduleRun.objects.using(ALIAS).filter(schedule=schedule, fate=Fate.ENQUEUED)
        assert runs.count() == Task.objects.using(ALIAS).filter(pk__in=runs.values("task_id")).count()
        Schedule.objects.using(ALIAS).all().delete()


# Beside a worker


def beat_of(worker: WorkerProcess) -> psutil.Process:
    """Return the worker's child that is not its fork server: the later one, which has no children."""
    children = sorted(psutil.Process(worker.pid).children(), key=lambda child: child.create_time())
    assert len(children) == 2
    return children[1]


@pytest.mark.parametrize("pool", ["processes", "solo"])
def test_a_worker_may_run_a_beat_that_ends_with_it(workers: Workers, pool: str) -> None:
    schedule = new_schedule(every=SECOND)
    worker = workers.start("--beat", "-c", "1", "-P", pool)
    worker.wait_for_log("beat ready: ")
    eventually(is_fired(schedule, 2), what="two slots")
    eventually(lambda: TaskResult.objects.exists(), what="a result")
    children = psutil.Process(worker.pid).children(recursive=True)
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert "beat stopped" in worker.log
    assert not [child for child in children if is_alive(child)]


def test_a_terminal_that_signals_the_whole_group_ends_both_well(workers: Workers) -> None:
    worker = workers.start("--beat", "-c", "1")
    worker.wait_for_log("beat ready: ")
    worker.wait_for_log("ready: queues=")
    worker.send_to_group(signal.SIGINT)
    assert worker.wait() == 0


def test_a_worker_whose_beat_dies_drains_so_that_it_is_started_again(workers: Workers) -> None:
    worker = workers.start("--beat", "-c", "1")
    worker.wait_for_log("beat ready: ")
    worker.wait_for_log("ready: queues=")
    beat_of(worker).kill()
    assert worker.wait() == 2


def test_a_beat_dies_with_its_worker(workers: Workers) -> None:
    worker = workers.start("--beat", "-c", "1")
    worker.wait_for_log("beat ready: ")
    worker.wait_for_log("ready: queues=")
    beat = beat_of(worker)
    worker.send(signal.SIGKILL)
    worker.wait()
    eventually(lambda: not is_alive(beat), what="the end of the beat")


def test_a_worker_does_not_start_if_its_beat_cannot(workers: Workers) -> None:
    worker = workers.start("--beat", ALWAYS_EAGER=True)
    assert worker.wait() == 1
    assert "expected DJQUEUE['ALWAYS_EAGER'] to be off" in worker.log
    assert "the beat could not be started" in worker.log
    worker = workers.start("--beat", SCHEDULES={"x": {"task": "t", "schedule": "61 * * * *"}})
    assert worker.wait() == 1
    assert "schedule 'x', schedule: expected a cron string" in worker.log
