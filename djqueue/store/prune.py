"""Prune: delete finished tasks that are older than they need to be."""

from __future__ import annotations

from psycopg import AsyncConnection

from djqueue.states import State

BATCH = 2000

MOST_SECONDS = 2
"""Longest time that a statement may take: what else its connection is for must not wait."""

# Why this shape. A bounded number of the oldest rows by the index on finished_at; each statement is its own
# transaction, so retention never holds locks or a snapshot for long. SKIP LOCKED lets several workers prune.
PRUNE = """
WITH old AS MATERIALIZED (
    SELECT ctid AS place, task_id
    FROM djqueue_taskresult
    WHERE state = %(state)s AND finished_at < statement_timestamp() - make_interval(secs => %(keep)s)
    ORDER BY finished_at
    LIMIT %(limit)s
    FOR UPDATE SKIP LOCKED
),
results AS (
    DELETE FROM djqueue_taskresult WHERE ctid = ANY (ARRAY(SELECT place FROM old))
),
attempts AS (
    DELETE FROM djqueue_taskattempt WHERE task_id = ANY (ARRAY(SELECT task_id FROM old))
),
tasks AS (
    DELETE FROM djqueue_task WHERE id = ANY (ARRAY(SELECT task_id FROM old))
)
SELECT count(*) FROM old
"""


async def prune(connection: AsyncConnection, state: State, keep: float, limit: int = BATCH) -> int:
    """Delete up to ``limit`` tasks that finished in ``state`` more than ``keep`` seconds ago; return how many.

    Raises ``psycopg.errors.QueryCanceled`` and deletes nothing if that takes too long.
    """
    async with connection.transaction():
        await connection.execute(f"SET LOCAL statement_timeout = '{MOST_SECONDS}s'")
        row = await (await connection.execute(PRUNE, {"state": int(state), "keep": keep, "limit": limit})).fetchone()
    assert row is not None
    return int(row[0])
