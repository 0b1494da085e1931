"""Worker rows: register, renew the lease, leave."""

from __future__ import annotations

from typing import NamedTuple

from psycopg import AsyncConnection

REGISTER = """
INSERT INTO djqueue_worker
    (name, host, pid, queues, pool, processes, concurrency, version, lease_until, draining, running, succeeded, failed,
     lost)
VALUES
    (%(name)s, %(host)s, %(pid)s, %(queues)s, %(pool)s, %(processes)s, %(concurrency)s, %(version)s,
     clock_timestamp() + make_interval(secs => %(lease)s), false, 0, 0, 0, 0)
RETURNING id
"""

# A lease that ran out but that nobody reclaimed yet may be renewed: reclaiming locks this row first.
HEARTBEAT = """
UPDATE djqueue_worker
SET heartbeat_at = clock_timestamp(), lease_until = clock_timestamp() + make_interval(secs => %(lease)s),
    draining = %(draining)s, running = %(running)s, succeeded = %(succeeded)s, failed = %(failed)s, lost = %(lost)s
WHERE id = %(id)s
RETURNING
    EXISTS (SELECT FROM djqueue_worker WHERE lease_until < clock_timestamp()),
    EXISTS (SELECT FROM djqueue_cancelledtask),
    EXISTS (SELECT FROM djqueue_commandreply WHERE worker_id = djqueue_worker.id AND taken_at IS NULL),
    extract(epoch FROM clock_timestamp())::double precision
"""

DESCRIBE = """
UPDATE djqueue_worker
SET queues = %(queues)s, processes = %(processes)s, concurrency = %(concurrency)s
WHERE id = %(id)s
"""

LEAVE = """
DELETE FROM djqueue_worker
WHERE id = %(id)s AND NOT EXISTS (SELECT FROM djqueue_runningtask WHERE worker_id = %(id)s)
RETURNING id
"""

# Tasks it still holds are reclaimed by the next worker that looks.
EXPIRE = "UPDATE djqueue_worker SET lease_until = clock_timestamp() WHERE id = %(id)s"


class WorkerRow(NamedTuple):
    """What a worker says of itself; ``lease`` is in seconds."""

    name: str
    host: str
    pid: int
    queues: str
    pool: str
    concurrency: int
    version: str
    lease: float
    processes: int = 1


class Counts(NamedTuple):
    """What a heartbeat reports: tasks held now, and attempts settled since the start."""

    running: int = 0
    succeeded: int = 0
    failed: int = 0
    lost: int = 0


async def register(connection: AsyncConnection, worker: WorkerRow) -> int:
    """Insert the worker's row and return its id."""
    row = await (await connection.execute(REGISTER, worker._asdict())).fetchone()
    assert row is not None
    return int(row[0])


class Beat(NamedTuple):
    """The answer to a heartbeat: whether some worker's lease has run out, whether cancellations wait, whether this
    worker is asked something, and the database's time."""

    expired: bool
    cancellations: bool
    commands: bool
    epoch: float


async def heartbeat(
    connection: AsyncConnection, worker_id: int, lease: float, counts: Counts, *, draining: bool = False
) -> Beat | None:
    """Renew the lease of ``lease`` seconds. None if the row is gone: the lease was lost and its tasks reclaimed."""
    values = {"id": worker_id, "lease": lease, "draining": draining, **counts._asdict()}
    row = await (await connection.execute(HEARTBEAT, values)).fetchone()
    return None if row is None else Beat(*row)


async def describe(
    connection: AsyncConnection, worker_id: int, *, queues: str, processes: int, concurrency: int
) -> None:
    """Write what a command has changed of a worker."""
    values = {"id": worker_id, "queues": queues, "processes": processes, "concurrency": concurrency}
    await connection.execute(DESCRIBE, values)


async def leave(connection: AsyncConnection, worker_id: int) -> None:
    """Remove the worker's row, or end its lease now if it still holds tasks."""
    if await (await connection.execute(LEAVE, {"id": worker_id})).fetchone() is None:
        await connection.execute(EXPIRE, {"id": worker_id})
