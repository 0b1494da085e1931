"""Figures of the dashboard: what statistics say of a span of time, by point in time and by task."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from time import monotonic
from typing import Any, NamedTuple

from django.db import connections
from django.utils import timezone
from django.utils.translation import gettext_lazy as _
from django.utils.translation import pgettext_lazy

from djqueue.histogram import RUNS, percentile
from djqueue.store.tally import RESOLUTIONS

TASKS_SHOWN = 12


class Span(NamedTuple):
    """A length of time up to now, in points of ``minutes`` each; ``kept`` seconds its figures are good for."""

    key: str
    points: int
    minutes: int
    kept: float
    title: Any
    each: Any


SPANS = {
    span.key: span
    for span in (
        Span("1h", 60, 1, 0.0, pgettext_lazy("span", "1 hour"), _("per minute")),
        Span("24h", 96, 15, 10.0, pgettext_lazy("span", "24 hours"), _("per 15 minutes")),
        Span("7d", 168, 60, 30.0, pgettext_lazy("span", "7 days"), _("per hour")),
    )
}

# Why this shape. The index on (resolution, at) yields the rows of the span; there are at most a few thousand, since
# older ones were folded.
ENDINGS = """
SELECT
    extract(epoch FROM date_bin(make_interval(mins => %(minutes)s), at, 'epoch'::timestamptz))::bigint,
    sum(succeeded), sum(failed), sum(retried), sum(cancelled), sum(lost)
FROM djqueue_statistic
WHERE resolution = ANY (%(resolutions)s::smallint[]) AND at >= %(since)s
GROUP BY 1
"""
BUSIEST = """
SELECT name, sum(succeeded), sum(failed), sum(retried), sum(cancelled), sum(lost)
FROM djqueue_statistic
WHERE resolution = ANY (%(resolutions)s::smallint[]) AND at >= %(since)s
GROUP BY name
ORDER BY sum(succeeded + failed + retried + lost) DESC, name
LIMIT %(tasks)s
"""
# Histograms are taken apart once, for the points and for the busiest tasks; the point of a row is found before that.
TIMES = """
WITH row AS MATERIALIZED (
    SELECT
        extract(epoch FROM date_bin(make_interval(mins => %(minutes)s), at, 'epoch'::timestamptz))::bigint AS point,
        name, steps, counts
    FROM djqueue_statistic
    WHERE resolution = ANY (%(resolutions)s::smallint[]) AND at >= %(since)s
)
SELECT row.point, row.name, one.step, sum(one.count)
FROM row CROSS JOIN LATERAL unnest(row.steps, row.counts) AS one (step, count)
GROUP BY GROUPING SETS ((row.point, one.step), (row.name, one.step))
HAVING row.name IS NULL OR row.name = ANY (%(names)s::text[])
"""


@dataclass
class Figures:
    """How attempts ended, and histograms of how long they waited and ran."""

    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    cancelled: int = 0
    lost: int = 0
    waits: Counter[int] = field(default_factory=Counter)
    runs: Counter[int] = field(default_factory=Counter)

    def count(self, endings: Iterable[int]) -> None:
        names = ("succeeded", "failed", "retried", "cancelled", "lost")
        for name, number in zip(names, endings, strict=True):
            setattr(self, name, getattr(self, name) + int(number))

    def time(self, step: int, number: int) -> None:
        if step >= RUNS:
            self.runs[step - RUNS] += int(number)
        else:
            self.waits[step] += int(number)

    @property
    def ended(self) -> int:
        """Tasks that are through; those that were cancelled did not end by themselves."""
        return self.succeeded + self.failed

    @property
    def failure_share(self) -> float | None:
        return self.failed / self.ended if self.ended else None

    def wait(self, percent: float) -> float | None:
        return percentile(self.waits, percent)

    def run(self, percent: float) -> float | None:
        return percentile(self.runs, percent)


class Overview(NamedTuple):
    """Figures of each point of a span, the oldest first, of all of it, and of the busiest tasks."""

    span: Span
    times: Sequence[datetime]
    points: Sequence[Figures]
    total: Figures
    tasks: Sequence[tuple[str, Figures]]


_kept: dict[tuple[str, str], tuple[float, Overview]] = {}


def recent_overview(database: str, span: Span) -> Overview:
    """Return figures of the span, for a long one those that this process read a moment ago.

    Pages refresh themselves every few seconds, which would read a week again and again.
    """
    until, overview = _kept.get((database, span.key), (0.0, None))
    if overview is None or monotonic() >= until:
        overview = read_overview(database, span)
        _kept[database, span.key] = monotonic() + span.kept, overview
    return overview


def read_overview(database: str, span: Span, now: datetime | None = None) -> Overview:
    """Return the figures of the span that ends now."""
    length = timedelta(minutes=span.minutes)
    now = now or timezone.now()
    first = floor(now, length) - (span.points - 1) * length
    times = [first + number * length for number in range(span.points)]
    by_time: dict[float, Figures] = defaultdict(Figures)
    total = Figures()
    values: dict[str, Any] = {
        "minutes": span.minutes,
        "resolutions": list(RESOLUTIONS),
        "since": first,
        "tasks": TASKS_SHOWN,
    }
    with connections[database].cursor() as cursor:
        cursor.execute(ENDINGS, values)
        for at, *endings in cursor.fetchall():
            by_time[at].count(endings)
            total.count(endings)
        cursor.execute(BUSIEST, values)
        tasks: dict[str, Figures] = defaultdict(Figures)
        for name, *endings in cursor.fetchall():
            tasks[name].count(endings)
        cursor.execute(TIMES, {**values, "names": list(tasks)})
        for at, name, step, number in cursor.fetchall():
            if at is None:
                tasks[name].time(step, number)
            else:
                by_time[at].time(step, number)
                total.time(step, number)
    return Overview(
        span, times, [by_time.get(time.timestamp()) or Figures() for time in times], total, list(tasks.items())
    )


def floor(moment: datetime, length: timedelta) -> datetime:
    """Return the last multiple of ``length`` since the epoch."""
    seconds = length.total_seconds()
    return datetime.fromtimestamp(moment.timestamp() // seconds * seconds, UTC)
