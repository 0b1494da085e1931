"""What the queue list says about lines: one query for the queues of a page."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import Any, NamedTuple

from django.db import connections

from djqueue.routing import FRONT, HIGHEST_PRIORITY, LOWEST_PRIORITY

COUNTED = 10_000

# Why this shape. Both looks into the line go by its primary key: the count, with the front of the line, stops after
# COUNTED entries, and the first in line is one probe for each possible priority, so neither grows with the line. There
# are about as many running tasks as slots, so those are counted by their own table.
LINES = """
SELECT
    asked.name,
    (
        SELECT count(*)
        FROM (
            SELECT FROM djqueue_readytask WHERE queue IN (asked.name, asked.name || %(front)s) LIMIT %(counted)s + 1
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
        JOIN djqueue_task AS task ON task.id = first.task_id
    ),
    coalesce(held.tasks, 0)
FROM unnest(%(queues)s::text[]) AS asked (name)
LEFT JOIN (
    SELECT task.queue, count(*) AS tasks
    FROM djqueue_runningtask AS running
    JOIN djqueue_task AS task ON task.id = running.task_id
    GROUP BY task.queue
) AS held ON held.queue = asked.name
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
