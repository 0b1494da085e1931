"""The tree of a workflow: all tasks of one root, with their states."""

from __future__ import annotations

from typing import Any, NamedTuple

from django.db.backends.utils import CursorWrapper

ROOT = """
SELECT coalesce(known.id, asked.id)::text
FROM djqueue_task AS asked LEFT JOIN djqueue_task AS known ON known.id = asked.root_id
WHERE asked.id = %s
"""

# What was caused by tasks, and what belongs to the same workflows and groups: each is asked for once.
RELATED = """
SELECT id::text, workflow_id::text, group_id::text
FROM (
    SELECT id, workflow_id, group_id FROM djqueue_task WHERE parent_id = ANY (%(ids)s::uuid[])
    UNION
    SELECT id, workflow_id, group_id FROM djqueue_task WHERE workflow_id = ANY (%(workflows)s::uuid[])
    UNION
    SELECT id, workflow_id, group_id FROM djqueue_task WHERE group_id = ANY (%(groups)s::uuid[])
    UNION
    SELECT id, workflow_id, group_id FROM djqueue_task WHERE id = ANY (%(ids)s::uuid[])
) AS related
ORDER BY id
LIMIT %(most)s
"""

NODES = """
SELECT
    task.id::text, task.parent_id::text, task.name, task.group_id::text,
    CASE
        WHEN result.state = 5 THEN 'succeeded'
        WHEN result.state = 6 THEN 'failed'
        WHEN result.state = 7 THEN 'cancelled'
        WHEN EXISTS (SELECT FROM djqueue_runningtask WHERE task_id = task.id) THEN 'running'
        WHEN EXISTS (SELECT FROM djqueue_waitingtask WHERE task_id = task.id) THEN 'waiting'
        WHEN EXISTS (SELECT FROM djqueue_scheduledtask WHERE task_id = task.id) THEN 'scheduled'
        ELSE 'ready'
    END,
    (SELECT waits_for::text FROM djqueue_waitingtask WHERE task_id = task.id),
    (
        SELECT waited.group_id::text FROM djqueue_task AS waited
        WHERE waited.id = task.parent_id AND waited.group_id IS DISTINCT FROM task.group_id
    )
FROM djqueue_task AS task
LEFT JOIN djqueue_taskresult AS result ON result.task_id = task.id
WHERE task.id = ANY (%s::uuid[])
ORDER BY task.id
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
    cursor.execute(ROOT, (task_id,))
    ids = {row[0] for row in cursor.fetchall()}
    found: set[str] = set()
    workflows: set[str] = set()
    groups: set[str] = set()
    seen_workflows: set[str] = set()
    seen_groups: set[str] = set()
    while (ids or workflows or groups) and len(found) < most:
        new: dict[str, Any] = {"ids": list(ids), "workflows": list(workflows), "groups": list(groups), "most": most}
        found |= ids
        seen_workflows |= workflows
        seen_groups |= groups
        cursor.execute(RELATED, new)
        related = cursor.fetchall()
        ids = {row[0] for row in related} - found
        workflows = {row[1] for row in related if row[1]} - seen_workflows
        groups = {row[2] for row in related if row[2]} - seen_groups
    cursor.execute(NODES, (sorted(found | ids)[:most],))
    return [Node._make(row) for row in cursor.fetchall()]
