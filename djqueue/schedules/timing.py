"""What every kind of schedule can say: when it is due next, and which moments have passed by.

A *slot* is a moment at which a schedule is due. Everything here is computed from arguments only, so that any beat, on
any machine, finds the same slots.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any, NamedTuple

from django.utils import timezone

FIRST_WINDOW = timedelta(minutes=2)
WINDOW_GROWTH = 4


class DueState(NamedTuple):
    """Celery's answer of ``is_due``: whether a run is due, and in how many seconds to look again."""

    is_due: bool
    next: float


class Timing:
    """When something is due. A subclass says when the next slot after a moment is."""

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        """Return the first slot after ``after``, in UTC, or None if there is no other.

        For schedules that count from their last run ``after`` is that run's slot.
        """
        raise NotImplementedError

    def first(self, now: datetime, zone: tzinfo, start_at: datetime | None = None) -> datetime | None:
        """Return the first slot of a schedule that begins now, or at ``start_at``: never one that has passed."""
        if start_at is None or start_at <= now:
            return self.next_after(now, zone)
        return self.next_after(start_at - timedelta(microseconds=1), zone)

    def latest(self, first: datetime, now: datetime, zone: tzinfo, limit: int) -> list[datetime]:
        """Return the latest slots up to ``now``, at most ``limit``, in order; ``first`` is a slot that has passed.

        Looks back in growing windows, so that a beat that was away for a year need not walk through the year.
        """
        window = FIRST_WINDOW
        while True:
            start = now - window
            slots = [first, *self.between(first, now, zone)] if start <= first else list(self.between(start, now, zone))
            if start <= first or len(slots) >= limit:
                return slots[-limit:]
            window *= WINDOW_GROWTH

    def between(self, after: datetime, until: datetime, zone: tzinfo) -> Iterator[datetime]:
        """Yield the slots after one moment, up to and including another."""
        slot = self.next_after(after, zone)
        while slot is not None and slot <= until:
            yield slot
            slot = self.next_after(slot, zone)

    def is_due(self, last_run_at: datetime, now: datetime | None = None) -> DueState:
        """Return whether a slot has passed since ``last_run_at``, as Celery's schedules do, in the current zone."""
        zone = timezone.get_current_timezone()
        now = datetime.now(UTC) if now is None else now
        due_at = self.next_after(last_run_at if last_run_at.tzinfo else last_run_at.replace(tzinfo=zone), zone)
        if due_at is None:
            return DueState(False, float("inf"))
        if due_at > now:
            return DueState(False, (due_at - now).total_seconds())
        later = self.next_after(now, zone)
        return DueState(True, float("inf") if later is None else (later - now).total_seconds())

    def _identity(self) -> tuple[object, ...]:
        raise NotImplementedError

    def __eq__(self, other: Any) -> bool:
        if isinstance(other, Timing):
            return type(self) is type(other) and self._identity() == other._identity()
        return NotImplemented

    def __hash__(self) -> int:
        return hash((type(self), self._identity()))
