"""``schedule``: every so many seconds, and ``clocked``: once."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta, tzinfo

from django.utils import timezone

from .timing import Timing
from .walltime import moment_of, wall

SHORTEST = timedelta(milliseconds=100)
LONGEST = timedelta(days=36525)
JUST_PASSED = timedelta(minutes=1)
UNITS = (timedelta(days=1), timedelta(hours=1), timedelta(minutes=1), timedelta(seconds=1))


class schedule(Timing):
    """Due every ``run_every`` (seconds or ``timedelta``), counted from slot to slot, whatever the clocks show.

    With ``relative`` it is due when the clock on the wall shows a whole day, hour, minute or second, whichever is the
    largest unit in ``run_every``: every day at midnight, for example. Raises ``ValueError`` or ``TypeError``.
    """

    def __init__(self, run_every: float | timedelta, relative: bool = False) -> None:
        if not isinstance(relative, bool):
            raise TypeError(f"expected relative to be True or False, got: {relative!r}")
        self.run_every = duration(run_every)
        self.relative = relative
        self._unit = next((unit for unit in UNITS if unit <= self.run_every), SHORTEST)
        if relative and self.run_every % self._unit:
            raise ValueError(
                "expected run_every of a relative schedule to be a whole number of days, hours, minutes or seconds, "
                f"got: {self.run_every}"
            )

    @property
    def seconds(self) -> float:
        return self.run_every.total_seconds()

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        after = after.astimezone(UTC)
        try:
            if not self.relative:
                return after + self.run_every
            shown = wall(after, zone)
            for steps in (1, 2, 3):  # a change of clocks may put the next one behind
                moment = moment_of(self._floor(shown + steps * self.run_every), zone)
                if moment > after:
                    return moment
            return after + self.run_every
        except OverflowError:
            return None

    def first(self, now: datetime, zone: tzinfo, start_at: datetime | None = None) -> datetime | None:
        if start_at is None or self.relative:
            return super().first(now, zone, start_at)
        if start_at > now:
            return start_at.astimezone(UTC)
        return start_at.astimezone(UTC) + ((now - start_at) // self.run_every + 1) * self.run_every

    def latest(self, first: datetime, now: datetime, zone: tzinfo, limit: int) -> list[datetime]:
        # A day's worth of changed clocks may lie in between: some steps more than needed, and only those that passed.
        spare = int(timedelta(days=1) / self.run_every) + 2 if self.relative else 0
        passed = (now - first) // self.run_every
        start = first
        if (jump := passed - limit - spare + 1) > 0:
            start = first + jump * self.run_every
            if self.relative:  # counted on the wall, where days are of one length
                start = moment_of(self._floor(wall(first, zone) + jump * self.run_every), zone)
        return [start, *self.between(start, now, zone)][-limit:]

    def _floor(self, shown: datetime) -> datetime:
        midnight = shown.replace(hour=0, minute=0, second=0, microsecond=0)
        return midnight + (shown - midnight) // self._unit * self._unit

    def __repr__(self) -> str:
        return f"<freq: {self.run_every}>"

    def _identity(self) -> tuple[object, ...]:
        return (self.run_every, self.relative)

    def __eq__(self, other: object) -> bool:
        """Equal to another schedule, or as in Celery to its ``run_every``."""
        return self.run_every == other if isinstance(other, timedelta) else super().__eq__(other)

    __hash__ = Timing.__hash__


interval = schedule


class clocked(Timing):
    """Due once, at ``clocked_time``, an aware datetime (a naive one is in the current time zone)."""

    def __init__(self, clocked_time: datetime) -> None:
        if not isinstance(clocked_time, datetime):
            raise TypeError(f"expected clocked_time to be a datetime, got: {clocked_time!r}")
        if timezone.is_naive(clocked_time):
            clocked_time = timezone.make_aware(clocked_time)
        self.clocked_time = clocked_time.astimezone(UTC)

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        return self.clocked_time if self.clocked_time > after else None

    def first(self, now: datetime, zone: tzinfo, start_at: datetime | None = None) -> datetime | None:
        """Return its time unless it has passed: one of the last minute is meant as "now"."""
        return super().first(now - JUST_PASSED, zone, start_at)

    def __repr__(self) -> str:
        return f"<clocked: {self.clocked_time.isoformat()}>"

    def _identity(self) -> tuple[object, ...]:
        return (self.clocked_time,)


def duration(every: object) -> timedelta:
    """Return seconds or a ``timedelta`` as a ``timedelta``. Raises ``ValueError`` for one that is too short."""
    if isinstance(every, int | float) and not isinstance(every, bool) and math.isfinite(every):
        every = timedelta(seconds=every) if abs(every) <= LONGEST.total_seconds() else LONGEST * 2
    if not isinstance(every, timedelta):
        raise TypeError(f"expected run_every to be a number of seconds or a timedelta, got: {every!r}")
    if not SHORTEST <= every <= LONGEST:
        raise ValueError(f"expected run_every to be 0.1 seconds to a hundred years, got: {every}")
    return every
