"""Reclaim: take back the tasks of workers that stopped renewing their lease."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

from djqueue.exceptions import WorkerLostError
from djqueue.records import Outcome
from djqueue.serializers import encode_error

from .lose import lose

BATCH = 1000

# The lock on the worker's row decides between this and its heartbeat; SKIP LOCKED lets any worker do this at any time.
EXPIRED = """
SELECT id, name, extract(epoch FROM clock_timestamp() - lease_until)::double precision
FROM djqueue_worker
WHERE lease_until < clock_timestamp()
ORDER BY id
LIMIT 1
FOR UPDATE SKIP LOCKED
"""

LEASES = "SELECT task_id::text, attempt FROM djqueue_runningtask WHERE worker_id = %s ORDER BY task_id LIMIT %s"

REMOVE = "DELETE FROM djqueue_worker WHERE id = %s"

# Leases whose worker's row was deleted by hand would be believed for ever.
ORPHANED = """
SELECT DISTINCT worker_id FROM djqueue_runningtask AS running
WHERE NOT EXISTS (SELECT FROM djqueue_worker AS worker WHERE worker.id = running.worker_id)
"""


class Reclaimed(NamedTuple):
    """A worker that was given up: how many of its tasks went back in line, and how many failed for good."""

    worker: str
    requeued: int
    failed: int


async def reclaim(connection: AsyncConnection, crash_limit: int) -> list[Reclaimed]:
    """Give up every worker whose lease has run out; each in one transaction."""
    given_up = []
    while True:
        async with connection.transaction():
            row = await (await connection.execute(EXPIRED)).fetchone()
            if row is None:
                break
            worker_id, name, overdue = row
            reason = f"worker {name} did not renew its lease, which ran out {overdue:.1f} s ago"
            given_up.append(await _give_up(connection, worker_id, name, reason, crash_limit))
            await connection.execute(REMOVE, (worker_id,))
    return given_up


async def reclaim_orphaned(connection: AsyncConnection, crash_limit: int) -> list[Reclaimed]:
    """Give up leases whose worker has no row."""
    async with connection.transaction():
        ids = [row[0] for row in await (await connection.execute(ORPHANED)).fetchall()]
        return [
            await _give_up(connection, worker_id, f"#{worker_id}", f"worker {worker_id} has no row", crash_limit)
            for worker_id in ids
        ]


async def _give_up(connection: AsyncConnection, worker_id: int, name: str, reason: str, crash_limit: int) -> Reclaimed:
    error = encode_error(WorkerLostError(reason))
    requeued = failed = 0
    while True:
        leases = await (await connection.execute(LEASES, (worker_id, BATCH))).fetchall()
        if not leases:
            return Reclaimed(name, requeued, failed)
        lost = [Outcome.lost(task_id, attempt, error, 0.0) for task_id, attempt in leases]
        fate = await lose(connection, worker_id, name, lost, crash_limit)
        failed += sum(fate.values())
        requeued += len(fate) - sum(fate.values())
