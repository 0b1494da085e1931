"""The tree of a workflow: all tasks of one root, with their states."""

from __future__ import annotations

from typing import NamedTuple

from django.db.backends.utils import CursorWrapper

# From the root on, by what caused what; each step by index. UNION drops a task that was found already.
TREE = """
WITH RECURSIVE asked AS (
    SELECT id, root_id, group_id FROM djqueue_task WHERE id = %(id)s
),
found (id) AS (
    SELECT coalesce(known.id, asked.id)
    FROM asked LEFT JOIN djqueue_task AS known ON known.id = asked.root_id
    UNION
    SELECT next.id
    FROM found
    CROSS JOIN LATERAL (
        SELECT id FROM djqueue_task WHERE parent_id = found.id
        UNION ALL
        SELECT sibling.id
        FROM djqueue_task AS task
        JOIN djqueue_task AS sibling ON sibling.workflow_id = task.workflow_id
        WHERE task.id = found.id
        UNION ALL
        SELECT sibling.id
        FROM djqueue_task AS task
        JOIN djqueue_task AS sibling ON sibling.group_id = task.group_id
        WHERE task.id = found.id
    ) AS next
)
SELECT
    task.id::text, task.parent_id::text, task.name, task.group_id::text,
    CASE
        WHEN result.state = 5 THEN 'succeeded'
        WHEN result.state = 6 THEN 'failed'
        WHEN result.state = 7 THEN 'cancelled'
        WHEN EXISTS (SELECT FROM djqueue_runningtask WHERE task_id = task.id) THEN 'running'
        WHEN EXISTS (SELECT FROM djqueue_waitingtask WHERE task_id = task.id) THEN 'waiting'
        WHEN EXISTS (SELECT FROM djqueue_parkedtask WHERE task_id = task.id) THEN 'waiting'
        WHEN EXISTS (SELECT FROM djqueue_scheduledtask WHERE task_id = task.id) THEN 'scheduled'
        ELSE 'ready'
    END,
    (SELECT waits_for::text FROM djqueue_waitingtask WHERE task_id = task.id),
    (
        SELECT waited.group_id::text FROM djqueue_task AS waited
        WHERE waited.id = task.parent_id AND waited.group_id IS DISTINCT FROM task.group_id
    )
FROM found
JOIN djqueue_task AS task ON task.id = found.id
LEFT JOIN djqueue_taskresult AS result ON result.task_id = task.id
ORDER BY task.id
LIMIT %(most)s
"""


class Node(NamedTuple):
    """A task in a workflow. ``joins`` is the group, if any, whose members come before it."""

    id: str
    parent_id: str | None
    name: str
    group_id: str | None
    state: str
    waits_for: str | None
    joins: str | None


def read_tree(cursor: CursorWrapper, task_id: str, most: int = 1000) -> list[Node]:
    """Return the tasks of the workflow that a task belongs to, in the order of their ids; at most so many."""
    cursor.execute(TREE, {"id": task_id, "most": most})
    return [Node._make(row) for row in cursor.fetchall()]
