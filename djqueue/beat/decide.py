"""Decide: what becomes of the slots of a schedule that is due. Touches no table."""

from __future__ import annotations

import random
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings

from djqueue.conf import settings
from djqueue.drafts import prepare_by_name
from djqueue.records import NewTask
from djqueue.schedules.due import Rule, Verdict, judge
from djqueue.schedules.rules import Fate, Misfire, Overlap
from djqueue.schedules.stored import When, timing_of
from djqueue.serializers import decode
from djqueue.store.beat import DueRow, Run, Step

HELD = timedelta(seconds=1)
"""A slot that waits for the end of the run before it is looked at so often."""
BROKEN = timedelta(minutes=1)
"""A schedule whose timing cannot be computed is tried again so often."""
LONGEST_NOTE = 1000
NEVER = "switched off: it has no slot ahead, so it would never run"


@dataclass
class Decision:
    """What is to be written of one schedule, and the tasks to enqueue, by the slot that each is for."""

    row: DueRow
    step: Step
    runs: list[Run] = field(default_factory=list)
    tasks: dict[datetime, NewTask] = field(default_factory=dict)


def decide(row: DueRow, due_at: datetime, now: datetime, unfinished: set[UUID]) -> Decision:
    """Decide on a schedule that is due since ``due_at``; whatever goes wrong with it becomes its ``last_error``."""
    try:
        timing, zone = timing_of(_when(row)), zone_of(row)
        overlapped = row.overlap != Overlap.ALLOW and row.last_task_id in unfinished
        if overlapped and row.overlap == Overlap.QUEUE:
            return Decision(row, Step(row.id, due_at, now + HELD))
        verdict = judge(timing, due_at, now, zone, _rule(row))
        return _carried_out(row, due_at, verdict, now, overlapped=overlapped)
    except Exception as error:  # a row that makes no sense, as after changes by hand, must not stop the others
        return Decision(row, Step(row.id, due_at, now + BROKEN, error=note_of(error)))


def begin(row: DueRow, now: datetime) -> Decision:
    """Find the first slot of a schedule that was switched on without one, as by ``update(enabled=True)``.

    One without a slot ahead is switched off, and says so.
    """
    try:
        first = timing_of(_when(row)).first(now, zone_of(row), row.start_at)
    except Exception as error:  # another beat may know the zone, or have the library; so it is not switched off
        return Decision(row, Step(row.id, None, now + BROKEN, error=note_of(error)))
    if first is None or (row.end_at is not None and first > row.end_at):
        return Decision(row, Step(row.id, None, enabled=False, error=NEVER))
    return Decision(row, Step(row.id, first))


def _carried_out(row: DueRow, due_at: datetime, verdict: Verdict, now: datetime, *, overlapped: bool) -> Decision:
    fire, skip, next_at = _chosen(row, verdict, overlapped=overlapped)
    decision = Decision(row, Step(row.id, next_at))
    if verdict.missed:
        decision.runs.append(Run(row.id, due_at, Fate.MISSED))
    decision.runs += [Run(row.id, slot, Fate.SKIPPED) for slot in skip]
    error = ""
    for slot in fire:
        try:
            task = prepared(row, slot, now)
        except Exception as problem:
            error = note_of(problem)
            decision.runs.append(Run(row.id, slot, Fate.FAILED, note=error))
        else:
            decision.tasks[slot] = task
            decision.runs.append(Run(row.id, slot, Fate.ENQUEUED, task.id))
    over = next_at is None or (row.one_off and bool(decision.tasks))
    decision.step = Step(row.id, None if over else next_at, None, not over, skipped=len(skip), error=error)
    return decision


def _chosen(
    row: DueRow, verdict: Verdict, *, overlapped: bool
) -> tuple[tuple[datetime, ...], tuple[datetime, ...], datetime | None]:
    """Return the slots to fire, those to skip for an overlap, and the next slot."""
    fire, next_at = verdict.fire, verdict.next_at
    if overlapped:
        return (), fire, next_at
    if row.one_off:
        return fire[-1:], (), next_at
    if row.overlap == Overlap.SKIP:
        return fire[:1], fire[1:], next_at
    if row.overlap == Overlap.QUEUE and len(fire) > 1:
        if row.misfire == Misfire.ALL:
            return fire[:1], (), fire[1]
        return fire[-1:], fire[:-1], next_at
    return fire, (), next_at


def prepared(row: DueRow, slot: datetime, now: datetime) -> NewTask:
    """Return the task of a slot. Raises what ``apply_async`` raises."""
    options: dict[str, Any] = dict(decode(row.options))
    delay = random.uniform(0.0, row.jitter) if row.jitter else None  # noqa: S311 - not for secrets
    options["headers"] = {
        **options.get("headers", {}),
        "periodic_task_name": row.name,
        "due_at": slot.isoformat(),
    }
    options["queue"], options["priority"], options["countdown"] = row.queue or None, row.priority, delay
    if row.expires is not None:
        options["expires"] = row.expires + (delay or 0.0)
    return prepare_by_name(row.task, decode(row.args), decode(row.kwargs), options, now)


def _when(row: DueRow) -> When:
    return When(
        row.kind, row.expression, row.every, row.relative, row.clocked_at,
        row.solar_event, row.latitude, row.longitude,
    )  # fmt: skip


def zone_of(row: DueRow) -> ZoneInfo:
    return ZoneInfo(row.timezone or django_settings.TIME_ZONE)


def _rule(row: DueRow) -> Rule:
    # A slot that was held back for the run before it did not misfire.
    misfire = Misfire.ONCE if row.held and row.misfire == Misfire.SKIP else Misfire(row.misfire)
    return Rule(misfire, timedelta(seconds=settings.MISFIRE_GRACE), row.misfire_limit, row.end_at)


def note_of(error: BaseException) -> str:
    """Return what is noted of an error, as text that PostgreSQL can hold."""
    text = f"{type(error).__name__}: {error}".replace("\x00", "")[:LONGEST_NOTE]
    return text.encode(errors="replace").decode()
