"""Prune runs: forget what became of slots of schedules long ago."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

PRUNE_RUNS = """
DELETE FROM djqueue_schedulerun
WHERE ctid = ANY (ARRAY(
    SELECT ctid FROM djqueue_schedulerun
    WHERE due_at < statement_timestamp() - make_interval(secs => %s)
    ORDER BY due_at
    LIMIT %s
    FOR UPDATE SKIP LOCKED
))
"""


def prune_runs(connection: BaseDatabaseWrapper, seconds: float, limit: int) -> int:
    """Delete the oldest notes of slots that are older than ``seconds``, at most ``limit``; return how many."""
    with connection.cursor() as cursor:
        cursor.execute(PRUNE_RUNS, [float(seconds), limit])
        return int(cursor.rowcount)
