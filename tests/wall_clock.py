"""Zones whose clocks change, and a clock that is walked minute by minute: what the schedules are compared with."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from functools import cache, lru_cache
from typing import NamedTuple
from zoneinfo import ZoneInfo, available_timezones

from djqueue.schedules import crontab

FROM, UNTIL = datetime(2024, 1, 1, tzinfo=UTC), datetime(2031, 1, 1, tzinfo=UTC)
MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


class Change(NamedTuple):
    """Clocks change at ``moment``, by ``by``: forward if it is positive."""

    zone: str
    moment: datetime
    by: timedelta


def offset(moment: datetime, zone: ZoneInfo) -> timedelta:
    return moment.astimezone(zone).utcoffset() or timedelta()


def changes_of(name: str) -> Iterator[Change]:
    """Find each change by looking at every day and then halving. Two changes in one day there are none."""
    zone, day = ZoneInfo(name), FROM
    while day < UNTIL:
        low, high = day, day + DAY
        before, after = offset(low, zone), offset(high, zone)
        if before != after:
            while high - low > MINUTE:
                middle = low + (high - low) // 2 // MINUTE * MINUTE
                low, high = (middle, high) if offset(middle, zone) == before else (low, middle)
            yield Change(name, high, after - before)
        day = high if before != after else day + DAY


@cache
def zones_with_changes() -> dict[str, list[Change]]:
    """Return one zone for each way in which clocks change from 2024 to 2030, with its changes."""
    found: dict[tuple[object, ...], str] = {}
    changes: dict[str, list[Change]] = {}
    # The longest name of several is the one that says where it is.
    for name in sorted(available_timezones() - {"localtime", "Factory"}, key=lambda name: (-len(name), name)):
        if name.startswith(("posix/", "right/")):
            continue
        of_zone = list(changes_of(name))
        key = (offset(FROM, ZoneInfo(name)), *(change[1:] for change in of_zone))
        if of_zone and key not in found:
            found[key] = name
            changes[name] = of_zone
    return changes


class Step(NamedTuple):
    """A minute: what the clock shows, and the times that come up for the first time, those it leaves out included."""

    moment: datetime
    shown: datetime
    fresh: tuple[datetime, ...]


@lru_cache(maxsize=64)
def walk(start: datetime, until: datetime, zone: ZoneInfo) -> list[Step]:
    """Look at the clock on the wall once a minute, and remember what it showed before."""
    steps: list[Step] = []
    shown_before: set[datetime] = set()
    moment = (start - DAY).replace(second=0, microsecond=0)
    last = wall(moment - MINUTE, zone)
    while moment <= until:
        shown = wall(moment, zone)
        passed = [last + number * MINUTE for number in range(1, max(1, (shown - last) // MINUTE))]
        fresh = tuple(time for time in [*passed, shown] if time not in shown_before)
        shown_before.update(fresh)
        steps.append(Step(moment, shown, fresh))
        last, moment = shown, moment + MINUTE
    return steps


def walked(rule: crontab, start: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
    """Return when a crontab is due after ``start``."""
    return [
        step.moment
        for step in walk(start, until, zone)
        if step.moment > start
        and any(matches(rule, time) for time in ((step.shown,) if rule.repeating else step.fresh))
    ]


def wall(moment: datetime, zone: ZoneInfo) -> datetime:
    return moment.astimezone(zone).replace(tzinfo=None, fold=0)


def matches(rule: crontab, shown: datetime) -> bool:
    return (
        shown.minute in rule.minute
        and shown.hour in rule.hour
        and shown.day in rule.day_of_month
        and shown.month in rule.month_of_year
        and shown.isoweekday() % 7 in rule.day_of_week
    )
