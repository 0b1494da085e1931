"""Reclaim: take back the tasks of workers that stopped renewing their lease."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

from djqueue.exceptions import WorkerLostError
from djqueue.records import Outcome
from djqueue.serializers import encode_error

from .advance import LOCK_ALL
from .arrays import array_literal
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
# locked before, in the order that everybody keeps. What a late worker still claims after that is orphaned.
LOCK_LEASES = """
SELECT worker_id, task_id::text, attempt FROM djqueue_runningtask WHERE worker_id = ANY (%s)
ORDER BY task_id
FOR UPDATE
"""

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
            leases = await _lock_leases(connection, [worker_id])
            reason = f"worker {name} did not renew its lease, which ran out {overdue:.1f} s ago"
            given_up.append(await _give_up(connection, worker_id, name, reason, leases[worker_id], crash_limit))
            await connection.execute(REMOVE, (worker_id,))
    return given_up


async def reclaim_orphaned(connection: AsyncConnection, crash_limit: int) -> list[Reclaimed]:
    """Give up leases whose worker has no row."""
    async with connection.transaction():
        ids = [row[0] for row in await (await connection.execute(ORPHANED)).fetchall()]
        leases = await _lock_leases(connection, ids)
        return [
            await _give_up(connection, worker_id, f"#{worker_id}", f"worker {worker_id} has no row", held, crash_limit)
            for worker_id, held in leases.items()
        ]


async def _lock_leases(connection: AsyncConnection, worker_ids: list[int]) -> dict[int, list[tuple[str, int]]]:
    """Lock leases of workers, and then the workflows of their tasks; return id and attempt of each, by worker."""
    leases: dict[int, list[tuple[str, int]]] = {worker_id: [] for worker_id in worker_ids}
    for worker_id, task_id, attempt in await (await connection.execute(LOCK_LEASES, (worker_ids,))).fetchall():
        leases[worker_id].append((task_id, attempt))
    ids = [task_id for held in leases.values() for task_id, _ in held]
    await connection.execute(LOCK_ALL, (array_literal(ids),))
    return leases


async def _give_up(
    connection: AsyncConnection,
    worker_id: int,
    name: str,
    reason: str,
    leases: list[tuple[str, int]],
    crash_limit: int,
) -> Reclaimed:
    error = encode_error(WorkerLostError(reason))
    requeued = failed = 0
    for start in range(0, len(leases), BATCH):
        lost = [Outcome.lost(task_id, attempt, error, 0.0) for task_id, attempt in leases[start : start + BATCH]]
        fate = await lose(connection, worker_id, name, lost, crash_limit)
        failed += sum(fate.values())
        requeued += len(fate) - sum(fate.values())
    return Reclaimed(name, requeued, failed)
