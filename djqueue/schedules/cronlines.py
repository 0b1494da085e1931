"""Cron strings, read by croniter: what a crontab file takes, and more."""

from __future__ import annotations

import re
from datetime import datetime, tzinfo
from threading import Lock

from croniter import CroniterBadDateError, CroniterError, croniter

from .timing import Timing
from .walltime import next_fixed, next_repeating

ALIASES = {
    "@midnight": "0 0 * * *",
    "@hourly": "0 * * * *",
    "@daily": "0 0 * * *",
    "@weekly": "0 0 * * 0",
    "@monthly": "0 0 1 * *",
    "@yearly": "0 0 1 1 *",
    "@annually": "0 0 1 1 *",
}
YEARS = 40
ZERO = re.compile(r"(?:^|[,-])0+(?=$|[,/-])")


class cron(Timing):
    """Due when a cron string matches: five fields, or six with the seconds last, or an alias such as ``@daily``.

    Follows croniter: a day of the month and a day of the week are OR-ed if both are restricted, Sunday is 0 or 7, and
    ``L``, ``#`` and ``W`` are known. Raises ``ValueError`` saying what croniter cannot read. ``H`` and ``R`` are
    refused: they stand for numbers drawn at random, and every beat must draw the same; use a jitter.
    """

    def __init__(self, expression: str) -> None:
        if not isinstance(expression, str):
            raise TypeError(f"expected a cron string, got: {expression!r}")
        self.expression = " ".join(expression.split())
        line = ALIASES.get(self.expression.lower(), self.expression)
        fields = line.split()
        if any(field[0] in "HhRr" for field in fields):
            raise ValueError(f"expected a cron string without H and R (use a jitter instead), got: {expression!r}")
        try:
            if len(fields) not in (5, 6):
                raise ValueError("it has 5 fields, or 6 with the seconds last")
            if any(ZERO.search(field) for field in fields[2:4]):
                raise ValueError("days of the month and months begin with 1")  # croniter takes 0-0 for *
            self._croniter = croniter(line, datetime(2024, 1, 1), max_years_between_matches=YEARS)
            if not croniter.is_valid(line, strict=True):
                raise ValueError("no such day")
        except (CroniterError, ValueError, KeyError, AttributeError, TypeError) as error:
            raise ValueError(f"expected a cron string, got: {expression!r} ({error})") from None
        self._lock = Lock()
        self.repeating = fields[0].startswith("*") or fields[1].startswith("*")

    def next_after(self, after: datetime, zone: tzinfo) -> datetime | None:
        search = next_repeating if self.repeating else next_fixed
        return search(self.next_wall, after, zone)

    def next_wall(self, shown: datetime) -> datetime | None:
        """Return the first matching wall time after ``shown``, without regard to zones."""
        with self._lock:  # croniter keeps its place in itself, and threads of a site share timings
            try:
                found: datetime = self._croniter.get_next(datetime, start_time=shown.replace(microsecond=0))
            except CroniterBadDateError:
                return None
        return found

    def __repr__(self) -> str:
        return f"<cron: {self.expression}>"

    def __reduce__(self) -> tuple[object, ...]:
        return type(self), (self.expression,)

    def _identity(self) -> tuple[object, ...]:
        return (self.expression,)
