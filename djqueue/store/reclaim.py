"""Reclaim: take back the tasks of workers that stopped renewing their lease."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

from djqueue.exceptions import WorkerLostError
from djqueue.records import Outcome
from djqueue.serializers import encode_error

from .advance import LOCK_CLASS
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

# Losing them in parts locks leases after workflows, while others have locked leases and wait for workflows: so all are
# locked before, in the order that everybody keeps.
LOCK_LEASES = "SELECT FROM djqueue_runningtask WHERE worker_id = ANY (%s) ORDER BY task_id FOR UPDATE"
LOCK_WORKFLOWS = f"""
SELECT pg_advisory_xact_lock({LOCK_CLASS}, stripe)
FROM (
    SELECT DISTINCT hashtext(task.workflow_id::text) & 255 AS stripe
    FROM djqueue_runningtask AS running
    CROSS JOIN LATERAL (SELECT workflow_id FROM djqueue_task WHERE id = running.task_id LIMIT 1) AS task
    WHERE running.worker_id = ANY (%s) AND task.workflow_id IS NOT NULL
    ORDER BY stripe
) AS stripes
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
            await _lock(connection, [worker_id])
            reason = f"worker {name} did not renew its lease, which ran out {overdue:.1f} s ago"
            given_up.append(await _give_up(connection, worker_id, name, reason, crash_limit))
            await connection.execute(REMOVE, (worker_id,))
    return given_up


async def reclaim_orphaned(connection: AsyncConnection, crash_limit: int) -> list[Reclaimed]:
    """Give up leases whose worker has no row."""
    async with connection.transaction():
        ids = [row[0] for row in await (await connection.execute(ORPHANED)).fetchall()]
        await _lock(connection, ids)
        return [
            await _give_up(connection, worker_id, f"#{worker_id}", f"worker {worker_id} has no row", crash_limit)
            for worker_id in ids
        ]


async def _lock(connection: AsyncConnection, worker_ids: list[int]) -> None:
    await connection.execute(LOCK_LEASES, (worker_ids,))
    await connection.execute(LOCK_WORKFLOWS, (worker_ids,))


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
