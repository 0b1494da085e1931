"""Prune: delete finished tasks that are older than they need to be, and the groups of workflows that are gone."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from psycopg import AsyncConnection

from djqueue.states import State

from .advance import LOCK_CLASS
from .groups import DELETE_UNUSED

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
    RETURNING workflow_id, group_id
)
SELECT
    (SELECT count(*) FROM old),
    array_agg(DISTINCT workflow_id) FILTER (WHERE workflow_id IS NOT NULL),
    array_agg(DISTINCT group_id) FILTER (WHERE group_id IS NOT NULL)
FROM tasks
"""


# Any number of workers prune at a time, but none while it is counted what is left of a failed workflow (``resume``).
# The stripes of workflows end at 255.
BEGIN = f"""
SELECT set_config('statement_timeout', '{MOST_SECONDS}s', true), pg_advisory_xact_lock_shared({LOCK_CLASS}, 256)
"""
WITHOUT_PRUNING = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, 256)"


async def prune(connection: AsyncConnection, keep: Mapping[State, float], limit: int = BATCH) -> int:
    """Delete tasks that finished longer ago than ``keep`` says, in seconds by state; return how many.

    Deletes up to ``limit`` of each state. Raises ``psycopg.errors.QueryCanceled`` and deletes nothing if that takes
    too long.
    """
    values = {"states": [int(state) for state in keep], "seconds": list(keep.values()), "limit": limit}
    async with connection.transaction():
        await connection.execute(BEGIN)
        row: Any = await (await connection.execute(PRUNE, values)).fetchone()
        number, workflows, groups = row
        if workflows or groups:
            await connection.execute(DELETE_UNUSED, {"workflows": workflows or [], "groups": groups or []})
    return int(number)
