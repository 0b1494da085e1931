"""Broadcast: who is to get a copy of what is sent to all, and what becomes of copies whose worker is gone."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg import AsyncConnection

from djqueue.exceptions import TaskRevokedError
from djqueue.routing import front_of
from djqueue.serializers import encode_error

from .advance import advance
from .gates import vacate

LIVE = "SELECT id, queues FROM djqueue_worker WHERE lease_until > statement_timestamp() AND NOT draining ORDER BY id"

# Every line that has ever had tasks is in djqueue_queue, where workers note what they find (store/lanes.py).
DESERTED = """
SELECT queue.name
FROM djqueue_queue AS queue
WHERE left(queue.name, -1 - length(substring(queue.name FROM '@([0-9]{1,18})$'))) = ANY (%s::text[])
    AND NOT EXISTS (
        SELECT FROM djqueue_worker AS worker
        WHERE worker.id = substring(queue.name FROM '@([0-9]{1,18})$')::bigint
    )
"""

CANCEL = """
WITH dropped AS (
    DELETE FROM djqueue_readytask WHERE queue = ANY (%(lines)s::text[]) RETURNING task_id, attempt
),
stored AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, finished_at)
    SELECT task_id, 7, attempt, '', %(error)s::jsonb, clock_timestamp() FROM dropped
    RETURNING task_id
)
SELECT task_id::text FROM stored
"""
FORGET = "DELETE FROM djqueue_queue WHERE name = ANY (%s::text[])"


def live_workers(connection: BaseDatabaseWrapper) -> list[tuple[int, str]]:
    """Return id and queues of every worker that claims tasks now."""
    with connection.cursor() as cursor:
        cursor.execute(LIVE)
        return [(row[0], row[1]) for row in cursor.fetchall()]


async def cancel_deserted(connection: AsyncConnection, broadcasts: Sequence[str]) -> int:
    """Cancel copies that wait for workers which are gone, and return how many there were.

    Those that a limit holds back follow when they have passed it, and are met in line.
    """
    if not broadcasts:
        return 0
    async with connection.transaction():
        cursor = await connection.execute(DESERTED, (list(broadcasts),))
        lines = [row[0] for row in await cursor.fetchall()]
        if not lines:
            return 0
        error = encode_error(TaskRevokedError("the worker that it was for is gone"), with_traceback=False)
        both = [*lines, *map(front_of, lines)]
        cursor = await connection.execute(CANCEL, {"lines": both, "error": error})
        ids = [row[0] for row in await cursor.fetchall()]
        if ids:
            await advance(connection, ids)
            await vacate(connection, ids, ids)
        await connection.execute(FORGET, (lines,))
    return len(ids)
