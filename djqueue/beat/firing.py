"""Firing: lock what is due, insert the tasks, note the slots and go on to the next ones, all in one transaction."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import NamedTuple
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from djqueue import events
from djqueue.conf import settings
from djqueue.enqueue import insert_prepared
from djqueue.schedules.rules import Fate, Overlap
from djqueue.store.beat import (
    DueRow,
    Run,
    Step,
    advance,
    database_clock,
    due_ids,
    insert_runs,
    lock_due,
    lock_one,
    lock_one_due,
    put_off,
    tell_beats,
    unfinished,
)
from djqueue.store.rename_runs import rename_runs

from .decide import BROKEN, HELD, Decision, begin, decide, note_of, prepared

BATCH = 500
MOST_TASKS = 5000
"""Tasks after which a batch takes no further schedule, as when many have an outage to make up for."""


class Fired(NamedTuple):
    """How many schedules this beat had in hand, and how many tasks it enqueued for them."""

    schedules: int = 0
    tasks: int = 0


def fire(connection: BaseDatabaseWrapper, now: datetime, *, unset: bool = False, limit: int = BATCH) -> Fired:
    """Fire up to ``limit`` schedules that are due at ``now`` and that no other beat has in hand.

    With ``unset`` it finds the first slot of schedules that have none instead. If PostgreSQL refuses what a batch
    writes, each schedule is fired by itself, so that one that makes no sense stops no other.
    """
    try:
        return _fire(connection, now, lambda: lock_due(connection, now, limit, unset=unset))
    except Exception:
        if connection.connection is None or not connection.is_usable():
            raise
    fired = [_fire_alone(connection, now, schedule_id) for schedule_id in due_ids(connection, now, limit)]
    return Fired(sum(one.schedules for one in fired), sum(one.tasks for one in fired))


def _fire(connection: BaseDatabaseWrapper, now: datetime, lock: Callable[[], Sequence[DueRow]]) -> Fired:
    with transaction.atomic(using=connection.alias):
        rows = lock()
        if not rows:
            return Fired()
        waiting_for = [
            row.last_task_id for row in rows if row.overlap != Overlap.ALLOW and row.last_task_id is not None
        ]
        going_on = unfinished(connection, waiting_for) if waiting_for else set()
        decisions = _decided(rows, now, going_on)
        runs = _write(connection, decisions)
    _tell(decisions, runs, now)
    return Fired(len(decisions), sum(run.fate == Fate.ENQUEUED for run in runs))


def _fire_alone(connection: BaseDatabaseWrapper, now: datetime, schedule_id: int) -> Fired:
    """Fire one schedule; if that fails, note why and try it again after a while."""
    try:
        return _fire(connection, now, lambda: lock_one_due(connection, now, schedule_id))
    except Exception as error:
        if connection.connection is None or not connection.is_usable():
            raise
        note = note_of(error)
        name = put_off(connection, schedule_id, now + BROKEN, note)
        events.emit(events.ScheduleBroken(name, note))
    return Fired(schedules=1)


def _decided(rows: Sequence[DueRow], now: datetime, going_on: set[UUID]) -> list[Decision]:
    """Decide on rows in their order, up to a bounded number of tasks; the others stay due for the next batch."""
    decisions: list[Decision] = []
    tasks = 0
    for row in rows:
        if tasks >= MOST_TASKS:
            break
        due_at = row.next_run_at
        decisions.append(begin(row, now) if due_at is None else decide(row, due_at, now, going_on))
        tasks += len(decisions[-1].tasks)
    return decisions


def _write(connection: BaseDatabaseWrapper, decisions: Sequence[Decision]) -> list[Run]:
    """Write what was decided; return the runs that are new. A slot that was noted before is not fired again."""
    planned = [run for decision in decisions for run in decision.runs]
    new = insert_runs(connection, planned) if planned else set()
    runs = [run for run in planned if (run.schedule_id, run.due_at) in new]
    fired: dict[int, list[Run]] = {}
    for run in runs:
        if run.fate == Fate.ENQUEUED:
            fired.setdefault(run.schedule_id, []).append(run)
    tasks = [
        task
        for decision in decisions
        for slot, task in decision.tasks.items()
        if (decision.row.id, slot) in new
    ]  # fmt: skip
    if tasks and (found := insert_prepared(connection, tasks)):
        runs = _found_instead(connection, runs, found)
        fired = {schedule_id: _renamed(its, found) for schedule_id, its in fired.items()}
    advance(connection, [_counted(decision.step, fired.get(decision.row.id, ())) for decision in decisions])
    return runs


def _found_instead(connection: BaseDatabaseWrapper, runs: list[Run], found: dict[str, str]) -> list[Run]:
    """Note the slots whose unique task was there already, with that task."""
    renamed = _renamed(runs, found)
    rename_runs(connection, [new for old, new in zip(runs, renamed, strict=True) if new is not old])
    return renamed


def _renamed(runs: Sequence[Run], found: dict[str, str]) -> list[Run]:
    return [
        run._replace(task_id=found[run.task_id], note="a unique task was there already")
        if run.task_id is not None and run.task_id in found
        else run
        for run in runs
    ]


def _counted(step: Step, fired: Sequence[Run]) -> Step:
    if not fired:
        return step
    return step._replace(runs=len(fired), last_run_at=fired[-1].due_at, last_task_id=fired[-1].task_id)


def _tell(decisions: Sequence[Decision], runs: Sequence[Run], now: datetime) -> None:
    names = {decision.row.id: decision.row.name for decision in decisions}
    for run in runs:
        late = (now - run.due_at).total_seconds()
        events.emit(
            events.SlotPassed(names[run.schedule_id], run.due_at, Fate(run.fate).name, run.task_id, late, run.note)
        )
    for decision in decisions:
        if decision.step.error and not decision.runs:
            events.emit(events.ScheduleBroken(decision.row.name, decision.step.error))


def run_now(schedule_id: int, using: str | None = None) -> str | None:
    """Enqueue the task of a schedule now, whatever its slots; return the task's id, or None if the schedule is gone.

    Raises what ``apply_async`` raises.
    """
    connection = connections[using or settings.DATABASE]
    with transaction.atomic(using=connection.alias):
        row = lock_one(connection, schedule_id)
        if row is None:
            return None
        now = database_clock(connection.alias)
        task = prepared(row._replace(jitter=0.0), now, now)
        run = Run(row.id, now, Fate.BY_HAND, task.id)
        insert_runs(connection, [run])
        if found := insert_prepared(connection, [task]):
            (run,) = _found_instead(connection, [run], found)
        held = now + HELD if row.held else None
        advance(connection, [Step(row.id, row.next_run_at, held, True, now, run.task_id, runs=1)])
        tell_beats(connection.alias)
    return run.task_id
