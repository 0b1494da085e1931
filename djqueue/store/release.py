"""Release: give claimed tasks back to the line, their attempt not counted."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from djqueue.records import Outcome

from .arrays import array_literal
from .functions import Function
from .gates import vacate

# Why this shape. Fenced and ordered like settling. The row gets a new place in line (a fresh seq): the floor protocol
# forbids to bring an old one back. What was marked to run at most once has started, and is not released.
RELEASE = Function(
    verb="release",
    arguments=("bigint", "uuid[]", "integer[]"),
    returns="id text",
    statement="""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($2, $3) AS given (task_id, attempt)
),
held AS MATERIALIZED (
    SELECT running.place, given.task_id, given.attempt
    FROM given
    CROSS JOIN LATERAL (
        SELECT lease.ctid AS place
        FROM djqueue_runningtask AS lease
        WHERE lease.task_id = given.task_id
            AND lease.attempt = given.attempt
            AND lease.worker_id + 0 = $1
            AND NOT lease.once
        LIMIT 1
        FOR UPDATE
    ) AS running
),
given_back AS (
    DELETE FROM djqueue_runningtask
    WHERE ctid = ANY (ARRAY(SELECT held.place FROM held))
),
back_in_line AS (
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT task.queue, task.priority, task.id, held.attempt - 1
    FROM held
    CROSS JOIN LATERAL (
        SELECT id, queue, priority FROM djqueue_task WHERE id = held.task_id LIMIT 1
    ) AS task
)
SELECT held.task_id::text FROM held
""",
)

CALL = f"SELECT id FROM {RELEASE.name}(%s, %s::uuid[], %s::integer[])"

HELD = "SELECT task_id::text, attempt FROM djqueue_runningtask WHERE worker_id = %s"


async def release(connection: AsyncConnection, worker_id: int, outcomes: Sequence[Outcome]) -> set[str]:
    """Put attempts back in line and return the ids of those that the worker still held and that may run again."""
    ordered = sorted((o.id, o.attempt) for o in outcomes)
    async with connection.transaction():
        cursor = await connection.execute(
            CALL, (worker_id, array_literal(o[0] for o in ordered), array_literal(str(o[1]) for o in ordered))
        )
        released = {row[0] for row in await cursor.fetchall()}
        await vacate(connection, released)
    return released


async def held_by(connection: AsyncConnection, worker_id: int) -> list[tuple[str, int]]:
    """Return id and attempt of every lease of a worker."""
    cursor = await connection.execute(HELD, (worker_id,))
    return [(row[0], row[1]) for row in await cursor.fetchall()]
