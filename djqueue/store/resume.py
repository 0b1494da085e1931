"""Resume: a task that failed runs again, and what failed with it waits again."""

from __future__ import annotations

import json
from functools import partial
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from .advance import lock_workflows_of
from .keys import retake_key

UNSUCCESSFUL = """
SELECT task.workflow_id::text, result.state, result.error -> 'waited' IS NOT NULL
FROM djqueue_task AS task
JOIN djqueue_taskresult AS result ON result.task_id = task.id
WHERE task.id = %s
"""

# All that failed in a workflow, with what it waited for when it did.
FALLEN = """
SELECT task.id::text, task.group_id::text, (result.error -> 'waited')::text
FROM djqueue_task AS task
JOIN djqueue_taskresult AS result ON result.task_id = task.id
WHERE task.workflow_id = %s AND result.state <> 5
"""
FALLEN_GROUPS = "SELECT id::text, group_id::text FROM djqueue_taskgroup WHERE workflow_id = %s AND failed"

BACK_IN_LINE = """
WITH result AS (
    DELETE FROM djqueue_taskresult WHERE task_id = %(id)s RETURNING task_id, attempt
)
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT task.queue, task.priority, task.id, result.attempt
FROM result JOIN djqueue_task AS task ON task.id = result.task_id
"""
BACK_TO_WAITING = """
WITH waited AS (
    SELECT * FROM jsonb_populate_recordset(NULL::djqueue_waitingtask, %(waited)s::jsonb)
),
result AS (
    DELETE FROM djqueue_taskresult WHERE task_id IN (SELECT task_id FROM waited)
)
INSERT INTO djqueue_waitingtask SELECT * FROM waited
"""
REOPEN = """
UPDATE djqueue_taskgroup AS reopened
SET failed = false, pending = (
    SELECT count(*) FROM djqueue_task AS task
    WHERE task.group_id = reopened.id AND NOT EXISTS (
        SELECT FROM djqueue_taskresult AS result WHERE result.task_id = task.id AND result.state = 5
    )
) + (
    SELECT count(*) FROM djqueue_taskgroup AS inner_group
    WHERE inner_group.group_id = reopened.id AND inner_group.pending > 0
)
WHERE reopened.id = ANY (%s::uuid[])
"""


def resume(cursor: CursorWrapper, task_id: str) -> None:
    """Put a task that failed or was cancelled back in line, and what failed because of it back to waiting.

    A chord of which another member has failed too stays failed until that is resumed as well. If a transaction is open
    it happens when that commits: meanwhile the workflow would stand still. Raises ``ValueError`` for a task that has
    not failed, or only because another did.
    """
    _workflow_to_resume(cursor, task_id)
    if cursor.db.in_atomic_block:
        transaction.on_commit(partial(_resume_later, cursor.db, task_id), using=cursor.db.alias)
        return
    with transaction.atomic(using=cursor.db.alias):
        lock_workflows_of(cursor, [task_id])
        workflow_id = _workflow_to_resume(cursor, task_id)
        retake_key(cursor, task_id)
        waited, groups = _dependent(cursor, workflow_id, task_id) if workflow_id else ([], [])
        cursor.execute(BACK_IN_LINE, {"id": task_id})
        if waited:
            cursor.execute(BACK_TO_WAITING, {"waited": json.dumps(waited)})
        if groups:
            # The innermost first: an outer group counts those that are open.
            for group_id in groups:
                cursor.execute(REOPEN, ([group_id],))


def _resume_later(connection: BaseDatabaseWrapper, task_id: str) -> None:
    with connection.cursor() as cursor:
        resume(cursor, task_id)


def _workflow_to_resume(cursor: CursorWrapper, task_id: str) -> str | None:
    """Return the id of a task's workflow. Raises ``ValueError`` for a task that cannot be resumed."""
    cursor.execute(UNSUCCESSFUL, (task_id,))
    row: Any = cursor.fetchone()
    if row is None or row[1] == 5:
        raise ValueError(f"expected a task that has failed or was cancelled, got: {task_id}")
    workflow_id: str | None
    workflow_id, _, followed = row
    if followed:
        raise ValueError(f"expected the task that failed, got: {task_id}, which only waited for it")
    return workflow_id


def _dependent(cursor: CursorWrapper, workflow_id: str, task_id: str) -> tuple[list[dict[str, Any]], list[str]]:
    """Return the waiting rows of what failed because of a task, and the groups that did, in the order of their fall."""
    cursor.execute(FALLEN, (workflow_id,))
    fallen = {id: (group_id, json.loads(waited) if waited else None) for id, group_id, waited in cursor.fetchall()}
    cursor.execute(FALLEN_GROUPS, (workflow_id,))
    fallen_groups: dict[str, str | None] = dict(cursor.fetchall())
    member_of = {**{id: group_id for id, (group_id, _) in fallen.items()}, **fallen_groups}
    rising, waited, groups = [task_id], [], []
    risen = {task_id}
    for node in rising:  # grows meanwhile
        for id, (_, its) in fallen.items():
            if its is not None and its["waits_for"] == node:
                waited.append(its)
                rising.append(id)
                risen.add(id)
        group_id = member_of.get(node)
        if group_id in fallen_groups and all(id in risen for id, of in member_of.items() if of == group_id):
            groups.append(group_id)
            rising.append(group_id)
            risen.add(group_id)
    return waited, groups
