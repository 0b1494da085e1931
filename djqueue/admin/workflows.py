"""Workflows: the newest, how far each has come, and the retry of what failed in one."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db import connections

SHOWN = 25
COUNTED = 500
"""Tasks of a workflow that are counted."""
RETRIED = 1_000

# Why this shape. The index on workflow_id is walked from its end, a probe for each workflow, however large one is.
NEWEST = """
WITH RECURSIVE newest AS (
    (
        SELECT workflow_id, 1 AS number FROM djqueue_task
        WHERE workflow_id IS NOT NULL AND workflow_id < %(before)s
        ORDER BY workflow_id DESC LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT task.workflow_id FROM djqueue_task AS task
        WHERE task.workflow_id IS NOT NULL AND task.workflow_id < newest.workflow_id
        ORDER BY task.workflow_id DESC LIMIT 1
    ), newest.number + 1
    FROM newest WHERE newest.workflow_id IS NOT NULL AND newest.number <= %(limit)s
)
SELECT workflow_id FROM newest WHERE workflow_id IS NOT NULL
"""
# Why this shape. The first of a workflow is looked for among those that are counted: asked for the first by id of all
# of its tasks, the planner may walk through all tasks there are until it meets one.
COUNTS = """
WITH counted AS (
    SELECT
        asked.id, (array_agg(task.id ORDER BY task.id))[1] AS first, count(*) AS tasks,
        count(*) FILTER (WHERE result.state = 5) AS succeeded, count(*) FILTER (WHERE result.state = 6) AS failed,
        count(*) FILTER (WHERE result.state = 7) AS cancelled,
        count(*) FILTER (WHERE running.task_id IS NOT NULL) AS running, max(result.finished_at) AS finished_at
    FROM unnest(%(ids)s::uuid[]) AS asked (id)
    CROSS JOIN LATERAL (
        SELECT id FROM djqueue_task WHERE workflow_id = asked.id LIMIT %(counted)s
    ) AS task
    LEFT JOIN LATERAL (
        SELECT state, finished_at FROM djqueue_taskresult WHERE task_id = task.id LIMIT 1
    ) AS result ON true
    LEFT JOIN LATERAL (SELECT task_id FROM djqueue_runningtask WHERE task_id = task.id LIMIT 1) AS running ON true
    GROUP BY asked.id
)
SELECT
    counted.id::text, counted.first::text, task.name, task.created_at, counted.tasks, counted.succeeded,
    counted.failed, counted.cancelled, counted.running, counted.finished_at
FROM counted
CROSS JOIN LATERAL (SELECT name, created_at FROM djqueue_task WHERE id = counted.first LIMIT 1) AS task
ORDER BY counted.id DESC
"""
# What failed by itself; what only waited for such a task waits for it again when that is retried. OFFSET keeps the
# order out of the look for the workflow's tasks, which might else be a walk through all tasks in that order.
FAILED = """
SELECT task.id::text
FROM (SELECT id FROM djqueue_task WHERE workflow_id = %s OFFSET 0) AS task
CROSS JOIN LATERAL (SELECT state, error FROM djqueue_taskresult WHERE task_id = task.id LIMIT 1) AS result
WHERE result.state <> 5 AND result.error -> 'waited' IS NULL
ORDER BY task.id
LIMIT %s
"""
END = "ffffffff-ffff-ffff-ffff-ffffffffffff"


class Workflow(NamedTuple):
    """A workflow with its first task, counts of its tasks up to ``COUNTED``, and when the last one ended."""

    id: str
    first: str
    name: str
    created_at: datetime
    tasks: int
    succeeded: int
    failed: int
    cancelled: int
    running: int
    last_end: datetime | None

    @property
    def more(self) -> bool:
        return self.tasks >= COUNTED

    @property
    def unfinished(self) -> int:
        return self.tasks - self.succeeded - self.failed - self.cancelled

    @property
    def share(self) -> int:
        """Percent of its tasks that have succeeded."""
        return self.succeeded * 100 // self.tasks

    @property
    def state(self) -> str:
        """The word that says how it stands."""
        if self.unfinished:
            return "running" if self.running or self.succeeded else "waiting"
        return "failed" if self.failed else "cancelled" if self.cancelled else "succeeded"


def newest_workflows(database: str, before: str = END) -> tuple[list[Workflow], str | None]:
    """Return workflows older than the one with the id ``before``, the newest first; and the next ``before``."""
    with connections[database].cursor() as cursor:
        cursor.execute(NEWEST, {"before": before, "limit": SHOWN})
        ids = [row[0] for row in cursor.fetchall()]
        found = read_workflows(cursor, ids[:SHOWN])
    return found, str(ids[SHOWN - 1]) if len(ids) > SHOWN else None


def read_workflows(cursor: Any, ids: Sequence[Any]) -> list[Workflow]:
    """Return these workflows, the newest first."""
    cursor.execute(COUNTS, {"ids": [str(one) for one in ids], "counted": COUNTED})
    return [Workflow(*row) for row in cursor.fetchall()]


def failed_steps(database: str, workflow_id: str) -> list[str]:
    """Return the ids of the tasks of a workflow that failed or were cancelled, but for what failed because of them."""
    with connections[database].cursor() as cursor:
        cursor.execute(FAILED, (workflow_id, RETRIED))
        return [row[0] for row in cursor.fetchall()]
