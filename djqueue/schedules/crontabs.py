"""``crontab``: Celery's five fields, all of which must match."""

from __future__ import annotations

import re
from calendar import monthrange
from collections.abc import Iterable
from datetime import datetime, timedelta, tzinfo
from typing import NamedTuple

from .timing import Timing
from .walltime import next_fixed, next_repeating

Field = int | str | Iterable[int]

LONGEST_MONTHS = (31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
LONG_NAMES = (
    "sunday monday tuesday wednesday thursday friday saturday "
    "january february march april june july august september october november december"
)
FULL_NAMES = {name: name[:3] for name in LONG_NAMES.split()}
YEARS = 40
"""A 29th of February on a given day of the week comes within so many years, also across a year like 2100."""


class FieldRule(NamedTuple):
    """A field's name as Celery's argument, its range, and the words that stand for numbers."""

    name: str
    lowest: int
    highest: int
    words: tuple[str, ...] = ()


MINUTE = FieldRule("minute", 0, 59)
HOUR = FieldRule("hour", 0, 23)
DAY_OF_MONTH = FieldRule("day_of_month", 1, 31)
MONTH_OF_YEAR = FieldRule("month_of_year", 1, 12, MONTHS)
DAY_OF_WEEK = FieldRule("day_of_week", 0, 6, DAYS)
ORDER = (MINUTE, HOUR, DAY_OF_MONTH, MONTH_OF_YEAR, DAY_OF_WEEK)
"""The fields in the order of a cron line."""

PART = re.compile(r"(?:(?P<star>\*)|(?P<first>\w+)(?:-(?P<last>\w+))?)(?:/(?P<step>\w+))?", re.ASCII)


class crontab(Timing):
    """Due whenever all five fields match what the clock on the wall shows.

    Each field is a number, a string (``*``, ``*/15``, ``8-18/2``, ``mon-fri``, ``1,15``) or an iterable of numbers.
    Ranges wrap (``fri-mon``, ``22-2``), ``*/n`` counts from the field's minimum, Sunday is 0. Unlike in cron, a day
    of the month and a day of the week must both match. Raises ``ValueError`` or ``TypeError`` naming the field.
    """

    def __init__(
        self,
        minute: Field | None = "*",
        hour: Field | None = "*",
        day_of_week: Field | None = "*",
        day_of_month: Field | None = "*",
        month_of_year: Field | None = "*",
    ) -> None:
        texts = {
            rule.name: field_text(rule, given)
            for rule, given in zip(ORDER, (minute, hour, day_of_month, month_of_year, day_of_week), strict=True)
        }
        self.expression = " ".join(texts[rule.name] for rule in ORDER)
        self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week = (
            parse_field(rule, texts[rule.name]) for rule in ORDER
        )
        self.repeating = texts["minute"].startswith("*") or texts["hour"].startswith("*")
        if not any(min(self.day_of_month) <= LONGEST_MONTHS[month - 1] for month in self.month_of_year):
            raise ValueError(
                "expected day_of_month to name a day that month_of_year has, "
                f"got: {texts['day_of_month']!r} in {texts['month_of_year']!r}"
            )
        self._minutes, self._hours = sorted(self.minute), sorted(self.hour)

    @classmethod
    def from_string(cls, crontab: str) -> crontab:
        """Return the crontab of a cron line: minute, hour, day of the month, month, day of the week."""
        fields = crontab.split() if isinstance(crontab, str) else ()
        if len(fields) != len(ORDER):
            raise ValueError(
                f"expected a crontab of five fields (minute, hour, day of month, month, day of week), got: {crontab!r}"
            )
        minute, hour, day_of_month, month_of_year, day_of_week = fields
        return cls(minute, hour, day_of_week, day_of_month, month_of_year)

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        search = next_repeating if self.repeating else next_fixed
        return search(self.next_wall, after, zone)

    def next_wall(self, shown: datetime) -> datetime | None:
        """Return the first matching wall time after ``shown``, without regard to zones."""
        shown = shown.replace(second=0, microsecond=0) + timedelta(minutes=1)
        if self._matches_day(shown) and (later := self._later_today(shown)) is not None:
            return later
        return self._first_after_day(shown.replace(hour=self._hours[0], minute=self._minutes[0]))

    def _later_today(self, shown: datetime) -> datetime | None:
        if shown.hour in self.hour:
            for minute in self._minutes:
                if minute >= shown.minute:
                    return shown.replace(minute=minute)
        for hour in self._hours:
            if hour > shown.hour:
                return shown.replace(hour=hour, minute=self._minutes[0])
        return None

    def _first_after_day(self, shown: datetime) -> datetime | None:
        day, last_year = shown + timedelta(days=1), min(shown.year + YEARS, 9998)
        while day.year <= last_year:
            if day.month not in self.month_of_year:
                day = day.replace(day=1) + timedelta(days=monthrange(day.year, day.month)[1])
            elif self._matches_day(day):
                return day
            else:
                day += timedelta(days=1)
        return None

    def _matches_day(self, day: datetime) -> bool:
        return (
            day.day in self.day_of_month
            and day.month in self.month_of_year
            and day.isoweekday() % 7 in self.day_of_week
        )

    def __repr__(self) -> str:
        minute, hour, day_of_month, month_of_year, day_of_week = self.expression.split()
        return f"<crontab: {minute} {hour} {day_of_month} {month_of_year} {day_of_week} (m/h/dM/MY/d)>"

    def _identity(self) -> tuple[object, ...]:
        return (self.minute, self.hour, self.day_of_month, self.month_of_year, self.day_of_week)

    def __reduce__(self) -> tuple[object, ...]:
        return type(self).from_string, (self.expression,)


def field_text(rule: FieldRule, given: object) -> str:
    """Return a field as text without blanks."""
    if given is None:
        return "*"
    if isinstance(given, str):
        return "".join(given.split()).lower()
    if isinstance(given, int) and not isinstance(given, bool):
        return str(given)
    if isinstance(given, Iterable):
        numbers = list(given)
        if numbers and all(isinstance(n, int) and not isinstance(n, bool) for n in numbers):
            return ",".join(str(number) for number in sorted(set(numbers)))
    raise TypeError(f"expected {rule.name} to be a number, a string or an iterable of numbers, got: {given!r}")


def parse_field(rule: FieldRule, text: str) -> frozenset[int]:
    """Return the numbers that a field names. Raises ``ValueError`` naming the field."""
    found: set[int] = set()
    for part in text.split(","):
        match = PART.fullmatch(part)
        if match is None:
            raise ValueError(f"expected {rule.name} to be made of parts such as 5, 1-5, */10 or 8-18/2, got: {text!r}")
        found.update(_expand(rule, text, match))
    return frozenset(found)


def _expand(rule: FieldRule, text: str, match: re.Match[str]) -> list[int]:
    whole = list(range(rule.lowest, rule.highest + 1))
    if match["star"]:
        numbers = whole
    else:
        first = _number(rule, text, match["first"])
        if match["last"] is None:
            if match["step"] is not None:
                raise ValueError(f"expected {rule.name} to have a range or * before the step, got: {text!r}")
            return [first]
        last = _number(rule, text, match["last"])
        numbers = [n for n in whole if first <= n <= last]
        if last < first:
            numbers = [n for n in whole if n >= first] + [n for n in whole if n <= last]
    step = 1 if match["step"] is None else _step(rule, text, match["step"])
    return numbers[::step]


def _step(rule: FieldRule, text: str, word: str) -> int:
    if not word.isdigit() or int(word) < 1:
        raise ValueError(f"expected {rule.name} to have a step of 1 or more, got: {text!r}")
    return int(word)


def _number(rule: FieldRule, text: str, word: str) -> int:
    name = FULL_NAMES.get(word, word)
    if name in rule.words:
        return rule.words.index(name) + rule.lowest
    if not word.isdigit() or not rule.lowest <= int(word) <= rule.highest:
        names = f" or {rule.words[0]} to {rule.words[-1]}" if rule.words else ""
        hint = " (Sunday is 0)" if rule is DAY_OF_WEEK and word == "7" else ""
        raise ValueError(f"expected {rule.name} to be {rule.lowest} to {rule.highest}{names}{hint}, got: {text!r}")
    return int(word)
