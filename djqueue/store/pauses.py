"""Pauses: what nobody may start for a while, and where such tasks wait."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from djqueue.states import ScheduleReason

from .functions import PINNED
from .gates import vacate

BATCH = 2000

PAUSES = """
SELECT 'queue' AS kind, name, paused_until AS until
FROM djqueue_queue WHERE paused_until > statement_timestamp()
UNION ALL
SELECT kind, name, until FROM djqueue_pause WHERE until > statement_timestamp()
"""

# Before PostgreSQL 17 nothing can be subtracted from an infinite time.
LEFT = f"""
SELECT kind, name, until::text,
    extract(epoch FROM until)::double precision - extract(epoch FROM clock_timestamp())::double precision
FROM ({PAUSES}) AS paused
"""
LISTED = f"SELECT kind, name, until FROM ({PAUSES}) AS paused ORDER BY kind, name"

PAUSE_QUEUE = """
INSERT INTO djqueue_queue (name, paused_until)
VALUES (%(name)s, coalesce(%(until)s, statement_timestamp() + make_interval(secs => %(seconds)s)))
ON CONFLICT (name) DO UPDATE SET paused_until = excluded.paused_until
RETURNING paused_until
"""
PAUSE_TASKS = """
INSERT INTO djqueue_pause (kind, name, until)
VALUES (%(kind)s, %(name)s, coalesce(%(until)s, statement_timestamp() + make_interval(secs => %(seconds)s)))
ON CONFLICT (kind, name) DO UPDATE SET until = excluded.until, paused_at = statement_timestamp()
RETURNING until
"""
RESUME_QUEUE = """
UPDATE djqueue_queue SET paused_until = NULL WHERE name = %(name)s AND paused_until > statement_timestamp()
"""
RESUME_TASKS = """
WITH ended AS (DELETE FROM djqueue_pause WHERE kind = %(kind)s AND name = %(name)s RETURNING until)
SELECT FROM ended WHERE until > statement_timestamp()
"""

# Why this shape. A paused task that stayed in line would be walked over by every claim: with a backlog of them the
# others would be held up. So it is claimed like any other and put off in one move until its pause ends, which costs
# nothing where nothing is paused. Whatever ends or shortens a pause, workers then look through what was put off, by the
# index of it alone, and bring forward what waits longer than it must. They do so for as long as a worker that has not
# heard of it can still put something off, which is a lease. Only what is moved is locked: a cancellation passes over
# what is locked, and nobody would claim the task and heed its note before the pause ends.
BRING_FORWARD = f"""
WITH looked AS MATERIALIZED (
    SELECT waiting.run_at, waiting.task_id
    FROM djqueue_scheduledtask AS waiting
    WHERE waiting.reason = {ScheduleReason.PAUSED.value}
        AND (waiting.run_at, waiting.task_id) > (%(run_at)s::timestamptz, %(task_id)s::uuid)
    ORDER BY waiting.run_at, waiting.task_id
    LIMIT %(limit)s
),
target AS MATERIALIZED (
    SELECT looked.run_at, looked.task_id, coalesce(
        (
            SELECT max(pause.until)
            FROM djqueue_task AS task
            JOIN djqueue_pause AS pause ON pause.until > statement_timestamp() AND (
                pause.kind = 'task' AND pause.name = task.name
                OR pause.kind = 'key' AND pause.name IN (
                    task.options ->> 'rate_key',
                    task.options ->> 'unique_key',
                    substr(task.options ->> 'gate', position(' ' IN task.options ->> 'gate') + 1)
                )
            )
            WHERE task.id = looked.task_id
        ),
        statement_timestamp()
    ) AS until
    FROM looked
),
held AS MATERIALIZED (
    SELECT place.ctid AS spot, target.until
    FROM target
    CROSS JOIN LATERAL (
        SELECT waiting.ctid
        FROM djqueue_scheduledtask AS waiting
        WHERE waiting.task_id = target.task_id AND waiting.run_at = target.run_at
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS place
    WHERE target.until < target.run_at
),
moved AS (
    UPDATE djqueue_scheduledtask AS waiting SET run_at = held.until FROM held WHERE waiting.ctid = held.spot
)
SELECT run_at::text, task_id::text FROM looked ORDER BY run_at, task_id
"""
BEFORE_ALL = ("-infinity", "00000000-0000-0000-0000-000000000000")

# Fenced as a release. The attempt is not counted.
PUT_OFF = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%s::uuid[], %s::integer[], %s::timestamptz[]) AS given (task_id, attempt, until)
),
held AS MATERIALIZED (
    SELECT running.place, given.task_id, given.attempt, given.until
    FROM given
    CROSS JOIN LATERAL (
        SELECT lease.ctid AS place
        FROM djqueue_runningtask AS lease
        WHERE lease.task_id = given.task_id AND lease.attempt = given.attempt AND lease.worker_id + 0 = %s
        LIMIT 1
        FOR UPDATE
    ) AS running
),
given_back AS (
    DELETE FROM djqueue_runningtask WHERE ctid = ANY (ARRAY(SELECT held.place FROM held))
)
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT until, task_id, attempt - 1, {ScheduleReason.PAUSED.value} FROM held
RETURNING task_id::text
"""


class PauseLeft(NamedTuple):
    """Something that is paused; ``until`` as the database writes it, and the seconds ``left``."""

    kind: str
    name: str
    until: str
    left: float


class Paused(NamedTuple):
    """Something that is paused: a ``queue``, ``task`` or ``key`` of this name."""

    kind: str
    name: str
    until: datetime


def pause(
    cursor: CursorWrapper, kind: str, name: str, *, until: datetime | None = None, seconds: float | None = None
) -> datetime:
    """Pause a queue, task name or key until a time or for some seconds; return until when. A second call replaces the
    first."""
    values = {"kind": kind, "name": name, "until": until, "seconds": seconds}
    cursor.execute(PAUSE_QUEUE if kind == "queue" else PAUSE_TASKS, values)
    end: datetime = cursor.fetchone()[0]
    return end


def resume(cursor: CursorWrapper, kind: str, name: str) -> bool:
    """End a pause; return whether there was one. Workers bring back what it has put off."""
    cursor.execute(RESUME_QUEUE if kind == "queue" else RESUME_TASKS, {"kind": kind, "name": name})
    ended: bool = cursor.rowcount > 0
    return ended


def list_pauses(cursor: CursorWrapper) -> list[Paused]:
    """Return what is paused now."""
    cursor.execute(LISTED)
    return [Paused._make(row) for row in cursor.fetchall()]


async def read_pauses(connection: AsyncConnection) -> list[PauseLeft]:
    """Return what is paused now, as a worker needs it."""
    return [PauseLeft._make(row) for row in await (await connection.execute(LEFT)).fetchall()]


async def put_off(connection: AsyncConnection, worker_id: int, claims: Sequence[tuple[str, int, str]]) -> None:
    """Put claimed tasks (id, attempt, until when) into the schedule, as if they had not been claimed.

    What they held of a limit goes to others meanwhile.
    """
    ids, attempts, until = zip(*sorted(claims), strict=True)
    async with connection.transaction():
        cursor = await connection.execute(PUT_OFF, (list(ids), list(attempts), list(until), worker_id))
        await vacate(connection, {row[0] for row in await cursor.fetchall()})


async def bring_forward(
    connection: AsyncConnection, after: tuple[str, str] | None, limit: int = BATCH
) -> tuple[str, str] | None:
    """Look at some of what was put off, after a place; what waits longer than its pauses last is due when they end.

    Returns the place to go on from, None at the end.
    """
    run_at, task_id = after or BEFORE_ALL
    values = {"run_at": run_at, "task_id": task_id, "limit": limit}
    async with connection.transaction():
        await connection.execute(PINNED)  # it may else expect few rows, and read and sort all
        rows = await (await connection.execute(BRING_FORWARD, values)).fetchall()
    return (rows[-1][0], rows[-1][1]) if len(rows) == limit else None
