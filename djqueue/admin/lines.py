"""What the queue list says about lines: one query for the queues of a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import connections

from djqueue.routing import FRONT, HIGHEST_PRIORITY, LOWEST_PRIORITY

COUNTED = 10_000

# Why this shape. Both looks into the line go by its primary key: the count, with the front of the line, stops after
# COUNTED entries, and the first in line is one probe for each possible priority, so neither grows with the line. The
# count asks for an order, which only that index has, and for a number that the planner cannot see: it expects any queue
# to have its share of the line, or to be short, and would read the whole table for each queue that is empty, or read
# and sort the queue. There are about as many running tasks as slots, so those are counted by their own table, and each
# is looked up by its key, which the LIMIT leaves as the only way.
LINES = """
SELECT
    asked.name,
    (
        SELECT least(count(*), %(counted)s + 1)
        FROM unnest(ARRAY[asked.name, asked.name || %(front)s]) AS part (queue)
        CROSS JOIN LATERAL (
            SELECT
            FROM djqueue_readytask AS ready
            WHERE ready.queue = part.queue
            ORDER BY ready.queue, ready.priority, ready.seq
            LIMIT (SELECT %(counted)s + 1)
        ) AS line
    ),
    (
        SELECT clock_timestamp() - min(task.created_at)
        FROM generate_series(%(lowest)s, %(highest)s) AS lane (priority)
        CROSS JOIN LATERAL (
            SELECT task_id
            FROM djqueue_readytask AS ready
            WHERE ready.queue = asked.name AND ready.priority = lane.priority::smallint
            ORDER BY ready.queue, ready.priority, ready.seq
            LIMIT 1
        ) AS first
        CROSS JOIN LATERAL (SELECT created_at FROM djqueue_task WHERE id = first.task_id LIMIT 1) AS task
    ),
    coalesce(held.tasks, 0)
FROM unnest(%(queues)s::text[]) AS asked (name)
LEFT JOIN (
    SELECT task.queue, count(*) AS tasks
    FROM djqueue_runningtask AS running
    CROSS JOIN LATERAL (SELECT queue FROM djqueue_task WHERE id = running.task_id LIMIT 1) AS task
    GROUP BY task.queue
) AS held ON held.queue = asked.name
"""

# Why this shape. The line has no index by task. Its lanes (queue and priority) are found by a probe each, and numbers
# within a lane grow with time, so the newest of all are among the last of each: neither grows with the line. ``queues``
# is null for all of them.
NEWEST = """
WITH RECURSIVE lane AS (
    (SELECT queue, priority FROM djqueue_readytask ORDER BY queue, priority, seq LIMIT 1)
    UNION ALL
    SELECT following.queue, following.priority
    FROM lane
    CROSS JOIN LATERAL (
        SELECT queue, priority
        FROM djqueue_readytask AS ready
        WHERE (ready.queue, ready.priority) > (lane.queue, lane.priority)
        ORDER BY ready.queue, ready.priority, ready.seq
        LIMIT 1
    ) AS following
)
SELECT last.task_id
FROM lane
CROSS JOIN LATERAL (
    SELECT task_id
    FROM djqueue_readytask AS ready
    WHERE ready.queue = lane.queue AND ready.priority = lane.priority
    ORDER BY ready.queue DESC, ready.priority DESC, ready.seq DESC
    LIMIT (SELECT %s)
) AS last
WHERE lane.queue = ANY (coalesce(%s::text[], ARRAY[lane.queue]))
ORDER BY last.task_id DESC
LIMIT %s
"""


class Line(NamedTuple):
    """A queue's tasks in line, counted up to a limit; the age of the first; running tasks."""

    ready: int = 0
    oldest: timedelta | None = None
    running: int = 0


def read_lines(database: str, queues: Sequence[str], counted: int = COUNTED) -> dict[str, Line]:
    """Return the line of each of ``queues``, counted to one more than ``counted``."""
    values: dict[str, Any] = {
        "queues": list(queues),
        "counted": counted,
        "lowest": LOWEST_PRIORITY,
        "highest": HIGHEST_PRIORITY,
        "front": FRONT,
    }
    with connections[database].cursor() as cursor:
        cursor.execute(LINES, values)
        return {name: Line(*line) for name, *line in cursor.fetchall()}
