"""Logs of tasks: store what an attempt logged, and delete what is old."""

from __future__ import annotations

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

BATCH = 5_000

WRITE = "INSERT INTO djqueue_tasklog (task_id, attempt, text) VALUES (%s, %s, %s)"

PRUNE = """
DELETE FROM djqueue_tasklog
WHERE id = ANY (ARRAY(
    SELECT id FROM djqueue_tasklog
    WHERE written_at < statement_timestamp() - make_interval(secs => %s)
    ORDER BY written_at
    LIMIT %s
    FOR UPDATE SKIP LOCKED
))
"""


def write_log(cursor: CursorWrapper, task_id: str, attempt: int, text: str) -> None:
    """Store what an attempt has logged."""
    cursor.execute(WRITE, (task_id, attempt, text))


async def prune_logs(connection: AsyncConnection, kept: float, limit: int = BATCH) -> int:
    """Delete logs older than ``kept`` seconds, at most ``limit``; return how many."""
    return (await connection.execute(PRUNE, (kept, limit))).rowcount
