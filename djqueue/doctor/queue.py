"""Checks of the queue itself: where tasks stand, and whether somebody takes them."""

from __future__ import annotations

from collections.abc import Iterator

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper

from djqueue.conf import settings
from djqueue.store.invariants import RULES, read_violations

from .finding import Finding, listed

OVERDUE = 10.0
"""Seconds after its end when a lease should have been noticed, where heartbeats are frequent."""

WORKERS = """
SELECT
    count(*) FILTER (WHERE lease_until >= clock_timestamp()),
    count(*) FILTER (WHERE lease_until < clock_timestamp()),
    EXISTS (SELECT FROM djqueue_readytask),
    EXISTS (SELECT FROM djqueue_scheduledtask WHERE run_at < statement_timestamp())
FROM djqueue_worker
"""

POOLS = """
SELECT pool, processes, concurrency, count(*)
FROM djqueue_worker
WHERE lease_until >= clock_timestamp()
GROUP BY pool, processes, concurrency
ORDER BY pool, processes, concurrency
"""


def check_invariants(using: str | None = None) -> list[Finding]:
    """Return a finding for each rule about the places of tasks that is broken; none if all is well."""
    # Other workers notice a lease that ended at their next heartbeat.
    overdue = max(OVERDUE, 2 * settings.HEARTBEAT)
    return [
        Finding.error(
            violation.rule,
            f"{violation.count:,} {violation.meaning}: {examples(violation.examples, violation.count)}.",
            violation.advice,
        )
        for violation in read_violations(connections[using or settings.DATABASE], overdue)
    ]


def examples(named: tuple[str, ...], count: int) -> str:
    return listed(list(named)) + (f" and {count - len(named):,} more" if count > len(named) else "")


def invariants(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    broken = check_invariants(connection.alias)
    yield from broken
    if not broken:
        yield Finding.ok("invariants", f"Every task stands in exactly one place, and all {len(RULES)} rules hold.")


def workers(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """Somebody is there to take the tasks."""
    with connection.cursor() as cursor:
        cursor.execute(WORKERS)
        alive, lost, ready, due = cursor.fetchone()
        cursor.execute(POOLS)
        pools = [
            f"{count} with pool={pool} processes={processes} concurrency={concurrency}"
            for pool, processes, concurrency, count in cursor.fetchall()
        ]
    gone = f" The lease of {lost} has ended." if lost else ""
    if alive:
        yield Finding.ok("workers", f"{alive} alive: {', '.join(pools)}.{gone}")
    elif ready or due:
        what = "Tasks are ready" if ready else "Scheduled tasks are due"
        yield Finding.warning("workers", f"{what}, and no worker is alive.{gone}", "Start one: manage.py runworker.")
    else:
        yield Finding.ok("workers", f"None is alive, and no task is ready.{gone}")
