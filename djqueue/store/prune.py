"""Prune: delete finished tasks that are older than they need to be."""

from __future__ import annotations

from collections.abc import Mapping

from psycopg import AsyncConnection

from djqueue.states import State

BATCH = 2000
MOST_SECONDS = 2
"""Longest time that the statement may take: what else its connection is for must not wait."""

# Why this shape. For each state a bounded number of the oldest rows by the index on finished_at and state; each call is
# its own transaction, so retention never holds locks or a snapshot for long. SKIP LOCKED lets several workers prune.
# What the body of a chord has yet to be given stays; these subqueries are scalar, so that they are never made a join of
# all tasks.
PRUNE = """
WITH kept AS MATERIALIZED (
    SELECT * FROM unnest(%(states)s::smallint[], %(seconds)s::double precision[]) AS kept (state, seconds)
),
old AS MATERIALIZED (
    SELECT oldest.place, oldest.task_id
    FROM kept
    CROSS JOIN LATERAL (
        SELECT result.ctid AS place, result.task_id
        FROM djqueue_taskresult AS result
        WHERE result.state = kept.state
            AND result.finished_at < statement_timestamp() - make_interval(secs => kept.seconds)
            AND NOT coalesce((
                SELECT pending > 0 AND NOT failed
                FROM djqueue_taskgroup
                WHERE id = (SELECT group_id FROM djqueue_task WHERE id = result.task_id LIMIT 1)
                LIMIT 1
            ), false)
        ORDER BY result.finished_at
        LIMIT %(limit)s
        FOR UPDATE SKIP LOCKED
    ) AS oldest
),
results AS (
    DELETE FROM djqueue_taskresult WHERE ctid = ANY (ARRAY(SELECT place FROM old))
),
attempts AS (
    DELETE FROM djqueue_taskattempt WHERE task_id = ANY (ARRAY(SELECT task_id FROM old))
),
tasks AS (
    DELETE FROM djqueue_task WHERE id = ANY (ARRAY(SELECT task_id FROM old))
    RETURNING group_id
),
gone AS MATERIALIZED (
    SELECT DISTINCT group_id FROM tasks WHERE group_id IS NOT NULL
),
groups AS (
    DELETE FROM djqueue_taskgroup AS unused
    WHERE (
            unused.id = ANY (ARRAY(SELECT group_id FROM gone))
            OR unused.group_id = ANY (ARRAY(SELECT group_id FROM gone))
        )
        AND NOT coalesce((
            SELECT pending > 0 AND NOT failed FROM djqueue_taskgroup WHERE id = unused.group_id LIMIT 1
        ), false)
)
SELECT count(*) FROM old
"""


async def prune(connection: AsyncConnection, keep: Mapping[State, float], limit: int = BATCH) -> int:
    """Delete tasks that finished longer ago than ``keep`` says, in seconds by state; return how many.

    Deletes up to ``limit`` of each state. Raises ``psycopg.errors.QueryCanceled`` and deletes nothing if that takes
    too long.
    """
    values = {"states": [int(state) for state in keep], "seconds": list(keep.values()), "limit": limit}
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = '{MOST_SECONDS}s'")
        row = await (await connection.execute(PRUNE, values)).fetchone()
    assert row is not None
    return int(row[0])
