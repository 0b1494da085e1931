"""Rearrange: what operators do to tasks that have not begun: run them now, later, elsewhere, sooner, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime

from django.db.backends.utils import CursorWrapper

from djqueue.states import ScheduleReason

# Why this shape. As cancelling: whoever locks the row of a task's place has it, so a claim or a promotion and this
# never both move it; what is locked is left out. Ready tasks have no index by id: their lanes are read, once for all.
# What a limit has let pass stays in front of its line, and what one holds back stays there: both are in their turn.
# Rows of other tables are looked up one by one, which no statistics turn into a walk through all of them.
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
    FROM due
    CROSS JOIN LATERAL (SELECT queue, priority FROM djqueue_task WHERE id = due.task_id LIMIT 1) AS task
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
        AND (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = task.id LIMIT 1) IS NULL
        AND (SELECT true FROM djqueue_runningtask AS running WHERE running.task_id = task.id LIMIT 1) IS NULL
        AND (SELECT true FROM djqueue_scheduledtask AS waiting WHERE waiting.task_id = task.id LIMIT 1) IS NULL
        AND (SELECT true FROM djqueue_waitingtask AS waiting WHERE waiting.task_id = task.id LIMIT 1) IS NULL
        AND (SELECT true FROM djqueue_parkedtask AS waiting WHERE waiting.task_id = task.id LIMIT 1) IS NULL
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

# As somebody asked: what a pause had put off would else come back when that ends.
RESCHEDULE = f"""
WITH {LANES},
put_off AS (
    INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT %(run_at)s, task_id, attempt, {ScheduleReason.ETA.value} FROM ready
),
moved AS (
    UPDATE djqueue_scheduledtask
    SET run_at = %(run_at)s,
        reason = CASE reason WHEN {ScheduleReason.PAUSED.value} THEN {ScheduleReason.ETA.value} ELSE reason END
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
    WHERE id = ANY (ARRAY(SELECT task_id FROM later UNION ALL SELECT task_id FROM ready))
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
