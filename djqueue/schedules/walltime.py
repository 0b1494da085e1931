"""Wall time: from times that a clock on the wall shows to moments, where clocks are changed.

Two kinds of schedules read the wall. A *fixed* one names its hours and minutes (``30 2 * * *``): a time that the clock
shows twice counts once, the first time, and one that it leaves out counts right after the change. A *repeating* one
(minute or hour begin with ``*``) counts whenever the clock shows a time that matches, in both passes, and a time left
out is left out. These are the rules of Debian's cron.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo

NextWall = Callable[[datetime], datetime | None]
"""Returns the first matching wall time after a wall time, without zone; None if there is none."""

MARGIN = timedelta(hours=25)
"""No change of clocks shows the same wall time again later than this."""
SECOND = timedelta(seconds=1)
TICK = timedelta(microseconds=1)


def wall(moment: datetime, zone: tzinfo) -> datetime:
    """Return what the clock on the wall shows at a moment, without zone."""
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def moment_of(shown: datetime, zone: tzinfo) -> datetime:
    """Return the moment, in UTC, at which the clock first shows a time; the moment of the change if it never does."""
    first = shown.replace(tzinfo=zone, fold=0).astimezone(UTC)
    if wall(first, zone) == shown:
        return first
    # Read with the offset after the change the time lies before it, with the one before the change after it.
    return change_between(shown.replace(tzinfo=zone, fold=1).astimezone(UTC), first, zone)


def change_between(before: datetime, after: datetime, zone: tzinfo) -> datetime:
    """Return the moment at which the offset of ``before`` ends, found by bisection; changes come at whole seconds."""
    offset = before.astimezone(zone).utcoffset()
    before, after = before.replace(microsecond=0), after.replace(microsecond=0)
    while after - before > SECOND:
        middle = before + timedelta(seconds=(after - before) // SECOND // 2)
        if middle.astimezone(zone).utcoffset() == offset:
            before = middle
        else:
            after = middle
    return after


def next_fixed(next_wall: NextWall, after: datetime, zone: tzinfo) -> datetime | None:
    """Return the first moment after ``after`` at which a fixed schedule is due, in UTC."""
    shown: datetime | None = wall(after, zone)
    while shown is not None and (shown := next_wall(shown)) is not None:
        # In the second pass the times ahead on the wall may lie behind; and two of a gap are one moment.
        if (moment := moment_of(shown, zone)) > after:
            return moment
    return None


def next_repeating(next_wall: NextWall, after: datetime, zone: tzinfo) -> datetime | None:
    """Return the first moment after ``after`` at which a repeating schedule is due, in UTC.

    Goes from one change of clocks to the next: in between, wall time and time run alike.
    """
    after = after.astimezone(UTC)
    while (shown := next_wall(wall(after, zone))) is not None:
        offset = after.astimezone(zone).utcoffset() or timedelta()
        moment = shown.replace(tzinfo=UTC) - offset
        horizon = min(moment, after + MARGIN)
        if horizon.astimezone(zone).utcoffset() != offset:
            # Up to the change nothing is due; at the change itself something may be.
            after = change_between(after, horizon, zone) - TICK
            if (at_change := _due_at_change(next_wall, after, zone)) is not None:
                return at_change
            after += TICK
        elif horizon == moment:
            return moment
        else:
            # Nothing on the wall matches before `shown`, and no change shows an earlier time again on the way.
            after = max(horizon, shown.replace(tzinfo=zone, fold=0).astimezone(UTC) - MARGIN)
    return None


def _due_at_change(next_wall: NextWall, before: datetime, zone: tzinfo) -> datetime | None:
    change = before + TICK
    shown = wall(change, zone)
    return change if next_wall(shown - TICK) == shown else None
