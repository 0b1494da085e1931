"""Timings as columns: what a row says of when it is due, and the timing made of it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any, NamedTuple

from .cronlines import cron
from .crontabs import crontab
from .intervals import clocked, duration, schedule
from .sun import solar
from .timing import Timing

CRONTAB, CRON, INTERVAL, CLOCKED, SOLAR = "crontab", "cron", "interval", "clocked", "solar"


COLUMNS_OF = {
    CRONTAB: ("expression",),
    CRON: ("expression",),
    INTERVAL: ("every", "relative"),
    CLOCKED: ("clocked_at",),
    SOLAR: ("solar_event", "latitude", "longitude"),
}


class When(NamedTuple):
    """The columns that say when a schedule is due; which of them count depends on ``kind``."""

    kind: str
    expression: str = ""
    every: timedelta | None = None
    relative: bool = False
    clocked_at: datetime | None = None
    solar_event: str = ""
    latitude: float | None = None
    longitude: float | None = None

    def as_json(self) -> dict[str, Any]:
        """Return what counts, as JSON can hold it."""
        values = {"kind": self.kind, **{column: getattr(self, column) for column in COLUMNS_OF[self.kind]}}
        if self.kind == INTERVAL and self.every is not None:
            values["every"] = self.every.total_seconds()
        if self.kind == CLOCKED and self.clocked_at is not None:
            values["clocked_at"] = self.clocked_at.astimezone(UTC).isoformat()
        return values


BUILDERS: dict[str, Callable[[When], Timing]] = {
    CRONTAB: lambda when: crontab.from_string(when.expression),
    CRON: lambda when: cron(when.expression),
    INTERVAL: lambda when: schedule(duration(when.every), when.relative),
    CLOCKED: lambda when: clocked(when.clocked_at),  # type: ignore[arg-type] # which it says
    SOLAR: lambda when: solar(when.solar_event, when.latitude, when.longitude),  # type: ignore[arg-type]
}


@lru_cache(maxsize=16_384)
def timing_of(when: When) -> Timing:
    """Return the timing that columns describe. Raises ``ValueError``, ``TypeError`` or ``ImportError``."""
    if when.kind not in BUILDERS:
        raise ValueError(f"expected the kind of a schedule to be one of {', '.join(BUILDERS)}, got: {when.kind!r}")
    return BUILDERS[when.kind](when)


def when_of(timing: Timing) -> When:
    """Return a timing as columns. Raises ``TypeError`` for one of a class of your own, which no column can hold."""
    match timing:
        case crontab():
            return When(CRONTAB, timing.expression)
        case cron():
            return When(CRON, timing.expression)
        case schedule():
            return When(INTERVAL, every=timing.run_every, relative=timing.relative)
        case clocked():
            return When(CLOCKED, clocked_at=timing.clocked_time)
        case solar():
            return When(SOLAR, solar_event=timing.event, latitude=timing.lat, longitude=timing.lon)
    raise TypeError(f"expected a crontab, cron, schedule, clocked or solar, got: {timing!r}")
