"""Due: which slots a beat fires now, and which one comes next. A pure function."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta, tzinfo

from .rules import MISFIRE_LIMIT, Misfire
from .timing import Timing


@dataclass(frozen=True, slots=True)
class Rule:
    """``grace``: how late a slot may be before it counts as missed. ``limit``: the most slots fired in one go."""

    misfire: Misfire = Misfire.ONCE
    grace: timedelta = timedelta(seconds=10)
    limit: int = MISFIRE_LIMIT
    end_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The slots to fire, oldest first; the slot after those; and whether slots that had passed are left out."""

    fire: tuple[datetime, ...]
    next_at: datetime | None
    missed: bool


def judge(schedule: Timing, due_at: datetime, now: datetime, zone: tzinfo, rule: Rule) -> Verdict:
    """Decide on a schedule whose first slot that was not fired yet is ``due_at``.

    Slots within the grace all fire. If there are only older ones, the misfire rule decides: none, the latest, or all
    of them, the latest ``limit`` at the most. A clock that went back fires nothing twice, because slots only go on.
    """
    until = now if rule.end_at is None else min(now, rule.end_at)
    if due_at > until:
        return Verdict((), due_at if rule.end_at is None or due_at <= rule.end_at else None, False)
    passed = schedule.latest(due_at, until, zone, max(1, rule.limit))
    on_time = [slot for slot in passed if slot >= now - rule.grace]
    match rule.misfire:
        case Misfire.ALL:
            fire = passed
        case Misfire.ONCE:
            fire = on_time or passed[-1:]
        case _:
            fire = on_time
    next_at = schedule.next_after(passed[-1], zone)
    if next_at is not None and rule.end_at is not None and next_at > rule.end_at:
        next_at = None
    return Verdict(tuple(fire), next_at, fire[:1] != [due_at])
