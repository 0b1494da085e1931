"""Cancel: take tasks out of line, or leave word for whoever runs or claims them."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

# Why this shape. A waiting task is cancelled by whoever locks the row of its place, so a claim and a cancellation never
# both have it. The line has no index by task; one lane is read from its front for all tasks of it at once, which takes
# 0.1 s per million in line. What is running, or being claimed just now, or not known at all, gets a note: claims look
# for notes, and workers for those of the tasks they run. 7 is `State.CANCELLED`.
CANCEL = """
WITH asked AS MATERIALIZED (
    SELECT id FROM unnest(%(ids)s::uuid[]) AS asked (id)
    WHERE NOT EXISTS (SELECT FROM djqueue_taskresult AS result WHERE result.task_id = asked.id)
),
scheduled AS (
    DELETE FROM djqueue_scheduledtask
    WHERE task_id = ANY (ARRAY(
        SELECT waiting.task_id FROM djqueue_scheduledtask AS waiting
        WHERE waiting.task_id IN (SELECT id FROM asked)
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING task_id, attempt
),
lane AS MATERIALIZED (
    SELECT DISTINCT task.queue, task.priority
    FROM djqueue_task AS task
    WHERE task.id IN (SELECT id FROM asked)
        AND NOT EXISTS (SELECT FROM djqueue_runningtask AS running WHERE running.task_id = task.id)
        AND NOT EXISTS (SELECT FROM djqueue_scheduledtask AS waiting WHERE waiting.task_id = task.id)
),
ready AS (
    DELETE FROM djqueue_readytask
    WHERE ctid = ANY (ARRAY(
        SELECT line.ctid
        FROM djqueue_readytask AS line
        JOIN lane ON lane.queue = line.queue AND lane.priority = line.priority
        WHERE line.task_id = ANY (%(ids)s::uuid[])
        FOR UPDATE OF line SKIP LOCKED
    ))
    RETURNING task_id, attempt
),
cancelled AS MATERIALIZED (
    SELECT task_id, attempt FROM scheduled UNION ALL SELECT task_id, attempt FROM ready
),
stored AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, finished_at)
    SELECT task_id, 7, attempt, '', %(error)s::jsonb, clock_timestamp() FROM cancelled
),
noted AS (
    INSERT INTO djqueue_cancelledtask (task_id, terminate, asked_at)
    SELECT id, %(terminate)s, clock_timestamp() FROM asked
    WHERE id NOT IN (SELECT task_id FROM cancelled)
    ORDER BY id
    ON CONFLICT (task_id) DO UPDATE SET terminate = djqueue_cancelledtask.terminate OR excluded.terminate
)
SELECT task_id::text FROM cancelled
"""

# The table of notes is nearly always empty, so this reads nothing.
ASKED_OF = """
SELECT note.task_id::text, note.terminate
FROM djqueue_cancelledtask AS note
JOIN djqueue_runningtask AS running ON running.task_id = note.task_id
WHERE running.worker_id = %s
"""

# A note about a finished task has done its work; one about an unknown task is remembered for a while.
FORGET = """
DELETE FROM djqueue_cancelledtask AS note
WHERE note.asked_at < statement_timestamp() - make_interval(secs => %s)
    OR EXISTS (SELECT FROM djqueue_taskresult AS result WHERE result.task_id = note.task_id)
"""


def cancel(cursor: CursorWrapper, ids: Sequence[str], error: str, *, terminate: bool) -> set[str]:
    """Cancel tasks and return the ids of those that were waiting; they have ended with ``error`` (JSON text).

    For the others that have not finished a note is left.
    """
    cursor.execute(CANCEL, {"ids": list(ids), "error": error, "terminate": terminate})
    return {row[0] for row in cursor.fetchall()}


async def asked_of(connection: AsyncConnection, worker_id: int) -> list[tuple[str, bool]]:
    """Return the tasks of a worker that were asked to end, and whether by force."""
    return [(row[0], row[1]) for row in await (await connection.execute(ASKED_OF, (worker_id,))).fetchall()]


async def forget_notes(connection: AsyncConnection, keep: float) -> None:
    """Delete notes that have done their work, or that are older than ``keep`` seconds."""
    await connection.execute(FORGET, (keep,))
