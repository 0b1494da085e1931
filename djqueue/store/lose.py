"""Lose: an attempt died with its executor or its worker."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from djqueue.records import Outcome

from .advance import advance
from .arrays import array_literal
from .functions import Function
from .gates import vacate

# Why this shape. Fenced and ordered like settling. Every loss leaves a row in TaskAttempt, and those rows are the
# count that the crash limit looks at: no counter to keep in step. What was marked to run at most once fails at its
# first loss. 9 is `Ending.LOST`, 6 is `State.FAILED`.
LOSE = Function(
    verb="lose",
    arguments=("bigint", "text", "uuid[]", "integer[]", "jsonb", "integer"),
    returns="id text, failed boolean",
    statement="""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($3, $4) AS given (task_id, attempt)
),
held AS MATERIALIZED (
    SELECT running.place, running.claimed_at, running.once, given.task_id, given.attempt
    FROM given
    CROSS JOIN LATERAL (
        SELECT lease.ctid AS place, lease.claimed_at, lease.once
        FROM djqueue_runningtask AS lease
        WHERE lease.task_id = given.task_id
            AND lease.attempt = given.attempt
            AND lease.worker_id + 0 = $1
        LIMIT 1
        FOR UPDATE
    ) AS running
),
given_back AS (
    DELETE FROM djqueue_runningtask
    WHERE ctid = ANY (ARRAY(SELECT held.place FROM held))
),
judged AS MATERIALIZED (
    SELECT held.*, $5 -> held.task_id::text AS error,
        held.once OR 1 + (
            SELECT count(*) FROM djqueue_taskattempt AS earlier
            WHERE earlier.task_id = held.task_id AND earlier.outcome = 9
        ) >= $6 AS failed
    FROM held
),
remembered AS (
    INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, started_at, finished_at)
    SELECT judged.task_id, judged.attempt, 9, $2, judged.error, judged.claimed_at, clock_timestamp()
    FROM judged
    ON CONFLICT (task_id, attempt) DO NOTHING
),
back_in_line AS (
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT task.queue, task.priority, task.id, judged.attempt
    FROM judged
    CROSS JOIN LATERAL (
        SELECT id, queue, priority FROM djqueue_task WHERE id = judged.task_id LIMIT 1
    ) AS task
    WHERE NOT judged.failed
),
given_up AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, started_at, finished_at)
    SELECT judged.task_id, 6, judged.attempt, $2, judged.error, judged.claimed_at, clock_timestamp()
    FROM judged
    WHERE judged.failed
    ON CONFLICT (task_id) DO NOTHING
),
counted AS (
    INSERT INTO djqueue_statistic (at, resolution, name, queue, lost, failed)
    SELECT
        date_trunc('minute', clock_timestamp()), 0, task.name, task.queue, 1, judged.failed::integer
    FROM judged
    CROSS JOIN LATERAL (
        SELECT name, queue FROM djqueue_task WHERE id = judged.task_id LIMIT 1
    ) AS task
)
SELECT judged.task_id::text, judged.failed FROM judged
""",
)

CALL = f"SELECT id, failed FROM {LOSE.name}(%s, %s, %s::uuid[], %s::integer[], %s::jsonb, %s)"


async def lose(
    connection: AsyncConnection, worker_id: int, worker_name: str, outcomes: Sequence[Outcome], crash_limit: int
) -> dict[str, bool]:
    """Record lost attempts and put their tasks back in line, or fail those that may not run again.

    Returns, for each attempt that ``worker_id`` still held, whether the task failed for good.
    """
    ordered = sorted(outcomes)
    async with connection.transaction():
        cursor = await connection.execute(
            CALL,
            (
                worker_id,
                worker_name,
                array_literal(o.id for o in ordered),
                array_literal(str(o.attempt) for o in ordered),
                "{" + ",".join(f'"{o.id}":{o.error}' for o in ordered) + "}",
                crash_limit,
            ),
        )
        fate = {row[0]: row[1] for row in await cursor.fetchall()}
        if failed := [task_id for task_id, for_good in fate.items() if for_good]:
            await advance(connection, failed)
        await vacate(connection, fate, failed)
    return fate
