"""Lines: which queues have tasks, how many, and the tasks in them in their order; for people, not for workers."""

from __future__ import annotations

from datetime import datetime
from typing import Any, NamedTuple

from django.db.backends.utils import CursorWrapper

from djqueue.routing import FRONT

from .cancel import ANYWHERE

COUNTED = 10_000
"""Tasks of a queue that are counted."""

# Queues by loose index scan: one probe of the primary key for each, however long the line is. A queue that no worker
# has met yet has no row of its own. The front of a line counts with the line. The count asks for an order, which only
# the primary key has, and for a number that the planner cannot see: it expects every queue to have its share, or to be
# short, and would read the whole line for each queue that is empty, or read and sort the queue. Parked tasks have no
# index by queue, so all of them are counted, each looked up by its key, which the LIMIT leaves as the only way.
QUEUES = f"""
WITH RECURSIVE in_line AS (
    (SELECT queue FROM djqueue_readytask ORDER BY queue, priority, seq LIMIT 1)
    UNION ALL
    SELECT (
        SELECT ready.queue FROM djqueue_readytask AS ready
        WHERE ready.queue > in_line.queue ORDER BY ready.queue, ready.priority, ready.seq LIMIT 1
    )
    FROM in_line WHERE in_line.queue IS NOT NULL
),
held_back AS (
    SELECT task.queue, count(*) AS tasks
    FROM djqueue_parkedtask AS parked
    CROSS JOIN LATERAL (SELECT queue FROM djqueue_task WHERE id = parked.task_id LIMIT 1) AS task
    GROUP BY task.queue
),
known AS (
    SELECT rtrim(queue, '{FRONT}') AS name FROM in_line WHERE queue IS NOT NULL
    UNION SELECT queue FROM held_back
    UNION SELECT name FROM djqueue_queue
)
SELECT
    known.name,
    (
        SELECT least(count(*), %(counted)s)
        FROM unnest(ARRAY[known.name, known.name || '{FRONT}']) AS part (queue)
        CROSS JOIN LATERAL (
            SELECT
            FROM djqueue_readytask AS ready
            WHERE ready.queue = part.queue
            ORDER BY ready.queue, ready.priority, ready.seq
            LIMIT (SELECT %(counted)s)
        ) AS line
    ),
    coalesce((SELECT tasks FROM held_back WHERE held_back.queue = known.name), 0),
    coalesce(held.tasks, 0),
    CASE WHEN queue.paused_until > statement_timestamp() THEN queue.paused_until END
FROM known
LEFT JOIN djqueue_queue AS queue ON queue.name = known.name
LEFT JOIN (
    SELECT task.queue, count(*) AS tasks
    FROM djqueue_runningtask AS running
    CROSS JOIN LATERAL (SELECT queue FROM djqueue_task WHERE id = running.task_id LIMIT 1) AS task
    GROUP BY task.queue
) AS held ON held.queue = known.name
ORDER BY known.name
"""

# Why this shape. Most tasks are nobody's affair but their own: they end here, by their places in the line, which costs
# the same however long it is. What is left is cancelled by id, since others wait for it or for its slot; it is locked,
# so that nobody claims it before. 7 is `State.CANCELLED`.
PURGE = """
WITH page AS MATERIALIZED (
    SELECT line.ctid AS place, line.priority, line.seq, line.task_id, line.attempt
    FROM djqueue_readytask AS line
    WHERE line.queue = %(queue)s AND (line.priority, line.seq) > (%(priority)s, %(seq)s)
    ORDER BY line.queue, line.priority, line.seq
    LIMIT %(limit)s
    FOR UPDATE OF line SKIP LOCKED
),
known AS MATERIALIZED (
    SELECT page.*, task.name, task.queue, coalesce(task.joined, false) AS joined
    FROM page
    LEFT JOIN LATERAL (
        SELECT name, queue, workflow_id IS NOT NULL OR coalesce(options ? 'gate', false) AS joined
        FROM djqueue_task WHERE id = page.task_id LIMIT 1
    ) AS task ON true
),
gone AS (
    DELETE FROM djqueue_readytask WHERE ctid = ANY (ARRAY(SELECT place FROM known WHERE NOT joined))
),
stored AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, finished_at)
    SELECT task_id, 7, attempt, '', %(error)s::jsonb, clock_timestamp() FROM known WHERE NOT joined
),
counted AS (
    INSERT INTO djqueue_statistic (at, resolution, name, queue, cancelled)
    SELECT date_trunc('minute', clock_timestamp()), 0, name, queue, count(*)
    FROM known WHERE NOT joined AND name IS NOT NULL
    GROUP BY name, queue
)
SELECT priority, seq, CASE WHEN joined THEN task_id::text END FROM known ORDER BY priority, seq
"""
BEFORE_ALL = (-32768, 0)

NEXT_PARKED = """
SELECT parked.task_id::text
FROM djqueue_parkedtask AS parked
CROSS JOIN LATERAL (SELECT queue FROM djqueue_task WHERE id = parked.task_id LIMIT 1) AS task
WHERE task.queue = %s AND parked.task_id > %s
ORDER BY parked.task_id
LIMIT %s
FOR UPDATE OF parked SKIP LOCKED
"""
BEFORE_PARKED = "00000000-0000-0000-0000-000000000000"


class QueueLine(NamedTuple):
    """A queue: tasks in line, counted up to ``COUNTED``, those that limits hold back, those that run, and until when it
    is paused, if it is."""

    name: str
    ready: int
    parked: int
    running: int
    paused_until: datetime | None


class Stretch(NamedTuple):
    """Some of the tasks that wait; the place of the last one, to go on from; and the numbers ``among`` which those in
    line are."""

    ids: list[str]
    last: Any
    among: tuple[int, int] = ANYWHERE


def queue_lines(cursor: CursorWrapper) -> list[QueueLine]:
    """Return every queue that has tasks in line or held back, or that a worker has met."""
    cursor.execute(QUEUES, {"counted": COUNTED})
    return [QueueLine._make(row) for row in cursor.fetchall()]


def purge_line(
    cursor: CursorWrapper, queue: str, after: tuple[int, int], error: str, limit: int
) -> tuple[int, Stretch]:
    """End tasks that come after a place in a line (priority, number), with ``error`` (JSON text).

    Returns how many tasks there were, and those that have to be cancelled: they are locked.
    """
    values: dict[str, Any] = {"queue": queue, "priority": after[0], "seq": after[1], "error": error, "limit": limit}
    cursor.execute(PURGE, values)
    rows = cursor.fetchall()
    if not rows:
        return 0, Stretch([], after)
    joined = [(seq, task_id) for _priority, seq, task_id in rows if task_id is not None]
    numbers = [seq for seq, _task_id in joined] or [0]
    return len(rows), Stretch([task_id for _seq, task_id in joined], rows[-1][:2], (min(numbers), max(numbers)))


def next_parked(cursor: CursorWrapper, queue: str, after: str, limit: int) -> Stretch:
    """Lock and return tasks of a queue that limits hold back, by their ids, which come after one."""
    cursor.execute(NEXT_PARKED, (queue, after, limit))
    ids = [row[0] for row in cursor.fetchall()]
    return Stretch(ids, ids[-1] if ids else after)
