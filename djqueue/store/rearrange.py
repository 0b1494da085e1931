"""Rearrange: what operators do to tasks that have not begun: run them now, later, elsewhere, sooner, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.backends.utils import CursorWrapper

# Why this shape. As cancelling: whoever locks the row of a task's place has it, so a claim or a promotion and this
# never both move it; what is locked is left out. Ready tasks have no index by id: their lanes are read, once for all.
RUN_NOW = """
WITH due AS (
    DELETE FROM djqueue_scheduledtask
    WHERE task_id = ANY (ARRAY(
        SELECT task_id FROM djqueue_scheduledtask
        WHERE task_id = ANY (%(ids)s::uuid[]) ORDER BY task_id FOR UPDATE SKIP LOCKED
    ))
    RETURNING task_id, attempt
),
placed AS MATERIALIZED (
    SELECT task.queue, task.priority, due.task_id, due.attempt
    FROM due JOIN djqueue_task AS task ON task.id = due.task_id
),
in_line AS (
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT queue, priority, task_id, attempt FROM placed ORDER BY task_id
)
SELECT task_id::text, queue FROM placed
"""

LANES = """
lane AS MATERIALIZED (
    SELECT DISTINCT task.queue, task.priority
    FROM djqueue_task AS task
    WHERE task.id = ANY (%(ids)s::uuid[])
        AND NOT EXISTS (SELECT FROM djqueue_taskresult AS result WHERE result.task_id = task.id)
        AND NOT EXISTS (SELECT FROM djqueue_runningtask AS running WHERE running.task_id = task.id)
        AND NOT EXISTS (SELECT FROM djqueue_scheduledtask AS waiting WHERE waiting.task_id = task.id)
        AND NOT EXISTS (SELECT FROM djqueue_waitingtask AS waiting WHERE waiting.task_id = task.id)
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
)
"""

RESCHEDULE = f"""
WITH {LANES},
put_off AS (
    INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT %(run_at)s, task_id, attempt, 1 FROM ready
),
moved AS (
    UPDATE djqueue_scheduledtask SET run_at = %(run_at)s
    WHERE task_id = ANY (ARRAY(
        SELECT task_id FROM djqueue_scheduledtask
        WHERE task_id = ANY (%(ids)s::uuid[]) ORDER BY task_id FOR UPDATE SKIP LOCKED
    ))
    RETURNING task_id
)
SELECT task_id::text FROM ready UNION ALL SELECT task_id::text FROM moved
"""

# The task's own row says where it goes when its time has come; a running one is left as it was called.
MOVE = f"""
WITH {LANES},
later AS MATERIALIZED (
    SELECT task_id FROM (
        SELECT task_id FROM djqueue_scheduledtask
        WHERE task_id = ANY (%(ids)s::uuid[]) ORDER BY task_id FOR UPDATE SKIP LOCKED
    ) AS scheduled
    UNION ALL
    SELECT task_id FROM (
        SELECT task_id FROM djqueue_waitingtask
        WHERE task_id = ANY (%(ids)s::uuid[]) ORDER BY task_id FOR UPDATE SKIP LOCKED
    ) AS waiting
),
moved AS (
    UPDATE djqueue_task
    SET queue = coalesce(%(queue)s::text, queue), priority = coalesce(%(priority)s::smallint, priority)
    WHERE id IN (SELECT task_id FROM later UNION ALL SELECT task_id FROM ready)
    RETURNING id, queue, priority
),
in_line AS (
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT moved.queue, moved.priority, ready.task_id, ready.attempt
    FROM ready JOIN moved ON moved.id = ready.task_id
    ORDER BY ready.task_id
)
SELECT id::text, queue FROM moved
"""

IN_LINE = """
SELECT task_id::text FROM djqueue_readytask WHERE queue = %s ORDER BY queue, priority, seq LIMIT %s
"""

# Plain tasks only: what waits for others has to be told. 7 is `State.CANCELLED`.
PURGE = """
WITH first AS MATERIALIZED (
    SELECT line.ctid AS place, line.task_id, line.attempt
    FROM djqueue_readytask AS line
    WHERE line.queue = %(queue)s AND NOT coalesce((
        SELECT workflow_id IS NOT NULL FROM djqueue_task WHERE id = line.task_id LIMIT 1
    ), false)
    ORDER BY line.queue, line.priority, line.seq
    LIMIT %(limit)s
    FOR UPDATE OF line SKIP LOCKED
),
gone AS (
    DELETE FROM djqueue_readytask WHERE ctid = ANY (ARRAY(SELECT place FROM first))
),
stored AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, finished_at)
    SELECT task_id, 7, attempt, '', %(error)s::jsonb, clock_timestamp() FROM first
),
counted AS (
    INSERT INTO djqueue_statistic (at, resolution, name, queue, cancelled)
    SELECT date_trunc('minute', clock_timestamp()), 0, task.name, task.queue, count(*)
    FROM first JOIN djqueue_task AS task ON task.id = first.task_id
    GROUP BY task.name, task.queue
)
SELECT count(*) FROM first
"""


def run_now(cursor: CursorWrapper, ids: Sequence[str]) -> dict[str, str]:
    """Put scheduled tasks in line, whatever their time; return their queues by id."""
    cursor.execute(RUN_NOW, {"ids": list(ids)})
    return dict(cursor.fetchall())


def reschedule(cursor: CursorWrapper, ids: Sequence[str], run_at: datetime) -> set[str]:
    """Have ready and scheduled tasks run at a time; return the ids of those that will."""
    cursor.execute(RESCHEDULE, {"ids": list(ids), "run_at": run_at})
    return {row[0] for row in cursor.fetchall()}


def move(
    cursor: CursorWrapper, ids: Sequence[str], *, queue: str | None = None, priority: int | None = None
) -> dict[str, str]:
    """Give tasks that have not begun another queue or priority; return their queues by id.

    In a new lane they stand last, in the order of their ids.
    """
    cursor.execute(MOVE, {"ids": list(ids), "queue": queue, "priority": priority})
    return dict(cursor.fetchall())


def purge(cursor: CursorWrapper, queue: str, error: str, limit: int) -> int:
    """Cancel the first tasks in a line, but for those of workflows; return how many. ``error`` is JSON text."""
    cursor.execute(PURGE, {"queue": queue, "error": error, "limit": limit})
    return int(cursor.fetchone()[0])


def first_in_line(cursor: CursorWrapper, queue: str, limit: int) -> list[str]:
    """Return the ids of the first tasks in a line."""
    cursor.execute(IN_LINE, (queue, limit))
    return [row[0] for row in cursor.fetchall()]
