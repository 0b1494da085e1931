"""Promote: move due tasks from the schedule into line."""

from __future__ import annotations

from psycopg import AsyncConnection

from .functions import Function

BATCH = 2000

# Why this shape. The primary key yields due rows in order, the LIMIT bounds every statement, and SKIP LOCKED lets any
# number of workers promote side by side. statement_timestamp(), unlike clock_timestamp(), can bound an index scan.
PROMOTE = Function(
    verb="promote",
    arguments=("integer",),
    returns="promoted bigint, next_in double precision",
    statement="""
WITH due AS MATERIALIZED (
    SELECT scheduled.ctid AS place, scheduled.task_id, scheduled.attempt
    FROM djqueue_scheduledtask AS scheduled
    WHERE scheduled.run_at <= statement_timestamp()
    ORDER BY scheduled.run_at, scheduled.task_id
    LIMIT $1
    FOR UPDATE SKIP LOCKED
),
left_the_schedule AS (
    DELETE FROM djqueue_scheduledtask
    WHERE ctid = ANY (ARRAY(SELECT due.place FROM due))
),
in_line AS (
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT task.queue, task.priority, task.id, due.attempt
    FROM due
    CROSS JOIN LATERAL (
        SELECT id, queue, priority FROM djqueue_task WHERE id = due.task_id LIMIT 1
    ) AS task
)
SELECT
    (SELECT count(*) FROM due),
    (
        SELECT extract(epoch FROM later.run_at - statement_timestamp())::double precision
        FROM djqueue_scheduledtask AS later
        WHERE later.run_at > statement_timestamp()
        ORDER BY later.run_at, later.task_id
        LIMIT 1
    )
""",
)

CALL = f"SELECT promoted, next_in FROM {PROMOTE.name}(%s)"


async def promote(connection: AsyncConnection, limit: int = BATCH) -> tuple[int, float | None]:
    """Put due tasks in line, the earliest first.

    Returns how many, and the seconds until the next one is due (None if there is none).
    """
    cursor = await connection.execute(CALL, (limit,))
    row = await cursor.fetchone()
    assert row is not None
    return row[0], row[1]
