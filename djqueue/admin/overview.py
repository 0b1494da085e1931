"""What the dashboard says of now: lines, workers, schedules, failures and the health of it all, each bounded."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import Error, connections
from django.db.models import F
from django.db.models.functions import Now

from djqueue.conf import settings
from djqueue.doctor import Finding
from djqueue.doctor import queue as doctor_queue
from djqueue.doctor import schedules as doctor_schedules
from djqueue.doctor import server as doctor_server
from djqueue.models import RateLimit, Schedule, Worker
from djqueue.models.limits import Limited
from djqueue.routing import line_of

from .failures import Failures, read_failures
from .lines import Line, read_lines

QUEUES_SHOWN = 30
COUNTED = 1_000
"""Tasks in a line that the dashboard counts; the list of queues counts further."""
WORKERS_SHOWN = 60
SCHEDULES_SHOWN = 6
FAILURES_SHOWN = 6
FAILURES_LOOKED_AT = 300
DUE_LOOKED_AT = 10_000

# Why this shape. The line's primary key begins with the queue, so each step of the walk is one probe; queues that
# nobody serves are found as well.
IN_LINE = """
WITH RECURSIVE line AS (
    (SELECT queue FROM djqueue_readytask ORDER BY queue LIMIT 1)
    UNION ALL
    SELECT (SELECT queue FROM djqueue_readytask WHERE queue > line.queue ORDER BY queue LIMIT 1)
    FROM line WHERE line.queue IS NOT NULL
)
SELECT queue FROM line WHERE queue IS NOT NULL LIMIT %s
"""
KNOWN = """
SELECT name, CASE WHEN paused_until > clock_timestamp() THEN paused_until END FROM djqueue_queue ORDER BY name LIMIT %s
"""
DUE = """
SELECT task.queue, count(*)
FROM (SELECT task_id FROM djqueue_scheduledtask ORDER BY run_at, task_id LIMIT %s) AS due
CROSS JOIN LATERAL (SELECT queue FROM djqueue_task WHERE id = due.task_id LIMIT 1) AS task
GROUP BY task.queue
"""

CHECKS: tuple[Callable[..., Iterator[Finding]], ...] = (
    doctor_queue.workers,
    doctor_schedules.schedules,
    doctor_server.vacuum,
    doctor_server.snapshots,
    doctor_server.prepared_transactions,
)
"""Those of the doctor that read little, however many tasks there are."""


class QueueNow(NamedTuple):
    """A queue as it is now; ``scheduled`` are those of the next tasks that will be due."""

    name: str
    line: Line
    scheduled: int
    paused_until: Any
    known: bool
    per_second: float | None = None
    """Its rate limit, if it has one."""

    @property
    def more(self) -> bool:
        return self.line.ready > COUNTED

    @property
    def ready(self) -> int:
        return min(self.line.ready, COUNTED)


def read_queues(database: str) -> list[QueueNow]:
    """Return the queues that workers have met or that have tasks in line, by name."""
    with connections[database].cursor() as cursor:
        cursor.execute(KNOWN, (QUEUES_SHOWN,))
        known: dict[str, Any] = dict(cursor.fetchall())
        cursor.execute(IN_LINE, (QUEUES_SHOWN,))
        in_line = [line_of(name) for (name,) in cursor.fetchall()]
        cursor.execute(DUE, (DUE_LOOKED_AT,))
        due: dict[str, int] = dict(cursor.fetchall())
    names = sorted({*known, *in_line, *due})[:QUEUES_SHOWN]
    lines = read_lines(database, names, COUNTED)
    limited = RateLimit.objects.using(database).filter(kind=Limited.QUEUE, name__in=names)
    limits = dict(limited.values_list("name", "per_second"))
    return [
        QueueNow(name, lines.get(name, Line()), due.get(name, 0), known.get(name), name in known, limits.get(name))
        for name in names
    ]


def read_workers(database: str) -> list[Any]:
    """Return the workers by name, with the silence since their last heartbeat and what is left of their leases."""
    from_heartbeat, to_end = Now() - F("heartbeat_at"), F("lease_until") - Now()
    workers: Any = Worker.objects.using(database).annotate(silent_for=from_heartbeat, lease_left=to_end)
    return list(workers.order_by("name", "pk")[:WORKERS_SHOWN])


def read_schedules(database: str) -> list[Schedule]:
    """Return the schedules that are due next."""
    schedules = Schedule.objects.using(database).filter(enabled=True, next_run_at__isnull=False)
    return list(schedules.order_by("next_run_at", "name")[:SCHEDULES_SHOWN])


def read_recent_failures(database: str, within: timedelta) -> tuple[list[Failures], bool]:
    """Return the largest groups of the latest failures, and whether they were only a part."""
    groups, more = read_failures(database, within, FAILURES_LOOKED_AT)
    return groups[:FAILURES_SHOWN], more


def read_health() -> list[Finding]:
    """Return what is wrong, as far as it can be told at once."""
    connection = connections[settings.DATABASE]
    found: list[Finding] = []
    for check in CHECKS:
        try:
            found += [finding for finding in check(connection) if finding.level != "ok"]
        except Error as error:
            reason = " ".join(str(error).split())
            found.append(Finding.warning(check.__name__, f"This could not be checked: {reason}", ""))
    return found
