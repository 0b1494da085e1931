"""Schedules and beats for tests: rows that are due, and ``runbeat`` as a process on the test's database."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

from django.db import connection

from djqueue.beat.firing import Fired, fire
from djqueue.models import Schedule, ScheduleRun, Task
from djqueue.schedules.rules import Fate
from djqueue.store.beat import look

from .site import tasks as tasks  # what schedules name here
from .worker_process import Workers, running_workers

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)
ADD = "tests.site.tasks.add"


def new_schedule(name: str = "each minute", *, due_at: datetime | None = None, **values: Any) -> Schedule:
    """Store a schedule; with ``due_at`` as one whose first slot that was not fired is that one."""
    if "kind" not in values:
        values = {"kind": "interval", "every": timedelta(minutes=1), **values}
    schedule = Schedule(**{"name": name, "task": ADD, "args": [2, 3], **values})
    schedule.save()
    if due_at is not None:
        Schedule.objects.filter(pk=schedule.pk).update(next_run_at=due_at)
    schedule.refresh_from_db()
    return schedule


def fire_at(now: datetime) -> int:
    """Fire everything that is due at ``now``, as a beat does; return the number of tasks."""
    tasks = 0
    while (found := look(connection, now)).due or found.unset:
        fired: Fired = fire(connection, now, unset=not found.due)
        if not fired.schedules:
            break
        tasks += fired.tasks
    return tasks


def slots(schedule: Schedule, fate: Fate | None = None) -> list[datetime]:
    runs = ScheduleRun.objects.filter(schedule=schedule).order_by("due_at")
    return [run.due_at for run in runs if fate is None or run.fate == fate]


def fates(schedule: Schedule) -> list[str]:
    runs = ScheduleRun.objects.filter(schedule=schedule).order_by("due_at")
    return [Fate(run.fate).name for run in runs]


def task_of(schedule: Schedule) -> Task:
    schedule.refresh_from_db()
    return Task.objects.get(pk=schedule.last_task_id)


@contextmanager
def running_beats() -> Iterator[Workers]:
    """Provide ``Workers`` whose ``start`` runs beats: ``beats.start(command="runbeat")``."""
    with running_workers() as beats:
        yield beats
