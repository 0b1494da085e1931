"""Keys: unique keys between calls. What nobody holds is deleted, and a task that runs again takes its own again."""

from __future__ import annotations

from typing import NamedTuple

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

HELD = """
SELECT held.key, other.id::text
FROM (SELECT id, options FROM djqueue_task WHERE id = %s LIMIT 1) AS mine
CROSS JOIN LATERAL (
    SELECT key, task_id FROM djqueue_uniquekey WHERE key = mine.options ->> 'unique_key' LIMIT 1
) AS held
LEFT JOIN LATERAL (
    SELECT id FROM djqueue_task WHERE id = held.task_id AND id <> mine.id
        AND (SELECT true FROM djqueue_taskresult AS ended WHERE ended.task_id = held.task_id LIMIT 1) IS NULL
    LIMIT 1
) AS other ON true
"""
LOCK = """
SELECT FROM djqueue_uniquekey
WHERE key = (SELECT options ->> 'unique_key' FROM djqueue_task WHERE id = %s)
FOR UPDATE
"""
RETAKE = """
INSERT INTO djqueue_uniquekey (key, task_id, until, first_at, seq)
SELECT task.options ->> 'unique_key', task.id, 2, clock_timestamp(), (SELECT last_value FROM djqueue_readytask_seq)
FROM djqueue_task AS task
WHERE task.id = %s AND task.options ? 'unique_key'
ON CONFLICT (key) DO UPDATE SET task_id = excluded.task_id, first_at = excluded.first_at, seq = excluded.seq
"""

# A page of keys at a time, in their order, so that a million keys that are held cost each look no more than a page.
# Looked up one by one: a join may read all tasks for each page. Who takes a key over dates it: a row that changed
# meanwhile is left alone.
PRUNE = """
WITH page AS MATERIALIZED (
    SELECT key, task_id FROM djqueue_uniquekey WHERE key > %(after)s ORDER BY key LIMIT %(limit)s
),
freed AS MATERIALIZED (
    SELECT page.key
    FROM page
    LEFT JOIN LATERAL (SELECT id FROM djqueue_task WHERE id = page.task_id LIMIT 1) AS task ON true
    LEFT JOIN LATERAL (
        SELECT task_id FROM djqueue_taskresult WHERE task_id = page.task_id LIMIT 1
    ) AS result ON true
    WHERE task.id IS NULL OR result.task_id IS NOT NULL
),
locked AS MATERIALIZED (
    SELECT held.spot
    FROM freed
    CROSS JOIN LATERAL (
        SELECT unheld.ctid AS spot FROM djqueue_uniquekey AS unheld
        WHERE unheld.key = freed.key
            AND unheld.first_at < statement_timestamp() - interval '30 s'
            AND coalesce(unheld.held_until < statement_timestamp(), true)
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS held
),
deleted AS (
    DELETE FROM djqueue_uniquekey WHERE ctid = ANY (ARRAY(SELECT spot FROM locked)) RETURNING 1
)
SELECT (SELECT max(key) FROM page), (SELECT count(*) FROM page), (SELECT count(*) FROM deleted)
"""


class Page(NamedTuple):
    """What a look at a page of keys brought; ``last`` is its last key, empty if the keys end here."""

    last: str
    deleted: int


def retake_key(cursor: CursorWrapper, task_id: str) -> None:
    """Let a task that is about to run again hold its key again, if it has one. In a transaction.

    Raises ``ValueError`` if another task that has not finished took the key meanwhile.
    """
    cursor.execute(LOCK, (task_id,))
    cursor.execute(HELD, (task_id,))
    row = cursor.fetchone()
    if row is not None and row[1] is not None:
        raise ValueError(f"expected the unique key {row[0]!r} to be free, but it is held by the task {row[1]}")
    cursor.execute(RETAKE, (task_id,))


async def prune_keys(connection: AsyncConnection, after: str, limit: int = 5000) -> Page:
    """Delete keys that nobody holds among the next ``limit`` after a key."""
    row = await (await connection.execute(PRUNE, {"after": after, "limit": limit})).fetchone()
    assert row is not None
    last, seen, deleted = row
    return Page(last if seen == limit else "", deleted)
