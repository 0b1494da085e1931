"""Resume: a task that failed runs again, and what failed with it waits again."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from typing import Any, NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from .advance import advance_with, lock_workflows_of
from .follow import FOLLOW
from .keys import retake_key
from .prune import WITHOUT_PRUNING

# With the error of a task are kept what it waited for when it failed with that, or when it was cancelled itself.
UNSUCCESSFUL = """
SELECT task.workflow_id::text, result.state, result.error -> 'waited' IS NOT NULL, (result.error -> 'left')::text
FROM djqueue_task AS task
CROSS JOIN LATERAL (SELECT state, error FROM djqueue_taskresult WHERE task_id = task.id LIMIT 1) AS result
WHERE task.id = %s
"""

# All that failed in a workflow, with what it waited for when it did.
FALLEN = """
SELECT task.id::text, task.group_id::text, (result.error -> 'waited')::text
FROM djqueue_task AS task
CROSS JOIN LATERAL (SELECT state, error FROM djqueue_taskresult WHERE task_id = task.id LIMIT 1) AS result
WHERE task.workflow_id = %s AND result.state <> 5
"""
FALLEN_GROUPS = "SELECT id::text, group_id::text FROM djqueue_taskgroup WHERE workflow_id = %s AND failed"

# A note that asked for its end, and an expiry that has passed, would end it again at once.
BACK_IN_LINE = """
WITH result AS (
    DELETE FROM djqueue_taskresult WHERE task_id = %(id)s RETURNING task_id, attempt
),
note AS (
    DELETE FROM djqueue_cancelledtask WHERE task_id = %(id)s
),
task AS (
    UPDATE djqueue_task
    SET expires_at = CASE WHEN expires_at > clock_timestamp() THEN expires_at END
    WHERE id = (SELECT task_id FROM result)
    RETURNING id, queue, priority
)
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT task.queue, task.priority, task.id, result.attempt FROM task CROSS JOIN result
"""
# At the end of its stream: those that followed it have not waited.
BACK_IN_STREAM = """
INSERT INTO djqueue_streamticket (gate, task_id)
SELECT options ->> 'gate', id FROM djqueue_task
WHERE id = ANY (%s::uuid[]) AND options ->> 'gate' LIKE 'stream %%'
ORDER BY id
"""
# What was deleted meanwhile does not come back.
BACK_TO_WAITING = """
WITH result AS (
    DELETE FROM djqueue_taskresult
    WHERE task_id = ANY (ARRAY(
        SELECT task_id FROM jsonb_populate_recordset(NULL::djqueue_waitingtask, %(waited)s::jsonb)
    ))
    RETURNING task_id
)
INSERT INTO djqueue_waitingtask
SELECT waited.*
FROM jsonb_populate_recordset(NULL::djqueue_waitingtask, %(waited)s::jsonb) AS waited
JOIN result ON result.task_id = waited.task_id
"""
REOPEN = """
UPDATE djqueue_taskgroup AS reopened
SET failed = false, pending = (
    SELECT count(*) FROM djqueue_task AS task
    WHERE task.group_id = reopened.id AND (
        SELECT result.state FROM djqueue_taskresult AS result WHERE result.task_id = task.id LIMIT 1
    ) IS DISTINCT FROM 5
) + (
    SELECT count(*) FROM djqueue_taskgroup AS inner_group
    WHERE inner_group.group_id = reopened.id AND inner_group.pending > 0
)
WHERE reopened.id = %s
"""

# Of each group whether all members are there, with their values or still to end.
MISSING = """
SELECT id::text
FROM djqueue_taskgroup AS whole
WHERE id = ANY (%s::uuid[]) AND size <> (
    SELECT count(*) FROM djqueue_task WHERE group_id = whole.id
) + (
    SELECT count(*) FROM djqueue_taskgroup AS inner_group WHERE inner_group.group_id = whole.id
)
"""

# Whether what a task waited for has succeeded: null if it has not ended, and no row if it is gone.
AWAITED = """
SELECT (
    SELECT result.state = 5 FROM djqueue_taskresult AS result WHERE result.task_id = task.id
), false
FROM djqueue_task AS task
WHERE task.id = %(id)s
UNION ALL
SELECT CASE WHEN failed THEN false WHEN pending = 0 THEN true END, true
FROM djqueue_taskgroup
WHERE id = %(id)s
"""

LET_GO = (
    f"SELECT {FOLLOW.name}(ARRAY[%(id)s]::uuid[], CASE WHEN %(is_group)s THEN ARRAY[%(id)s]::uuid[] ELSE '{{}}' END)"
)

Waiting = dict[str, Any]
"""A row of ``WaitingTask``."""


class Failure(NamedTuple):
    """A task that can be resumed: its workflow, if it belongs to one, and its place if it was cancelled in waiting."""

    workflow_id: str | None
    left: Waiting | None


def resume(cursor: CursorWrapper, task_id: str) -> None:
    """Put a task that failed or was cancelled back in line, and what failed because of it back to waiting.

    A chord of which another member has failed too stays failed until that is resumed as well. A task that was cancelled
    while it waited waits again, unless what it waited for has succeeded since. If a transaction is open it happens when
    that commits: meanwhile the workflow would stand still. Raises ``ValueError`` for a task that has not failed, or
    only because another did, and for one of a chord of which values have been deleted.
    """
    _failure(cursor, task_id)
    if cursor.db.in_atomic_block:
        _resume_later(cursor.db, task_id)
        return
    with transaction.atomic(using=cursor.db.alias):
        lock_workflows_of(cursor, [task_id])
        cursor.execute(WITHOUT_PRUNING)
        failure = _failure(cursor, task_id)
        retake_key(cursor, task_id)
        _resume(cursor, task_id, failure)


def _resume_later(connection: BaseDatabaseWrapper, task_id: str) -> None:
    def resume_now() -> None:
        with connection.cursor() as cursor:
            resume(cursor, task_id)

    transaction.on_commit(resume_now, using=connection.alias, robust=True)


def _failure(cursor: CursorWrapper, task_id: str) -> Failure:
    """Return what is to be known of a task. Raises ``ValueError`` for one that cannot be resumed."""
    cursor.execute(UNSUCCESSFUL, (task_id,))
    row: Any = cursor.fetchone()
    if row is None or row[1] == 5:
        raise ValueError(f"expected a task that has failed or was cancelled, got: {task_id}")
    workflow_id, _, followed, left = row
    if followed:
        raise ValueError(f"expected the task that failed, got: {task_id}, which only waited for it")
    return Failure(workflow_id, json.loads(left) if left else None)


def _resume(cursor: CursorWrapper, task_id: str, failure: Failure) -> None:
    waited, groups = _dependent(cursor, failure.workflow_id, task_id) if failure.workflow_id else ([], [])
    released = failure.left and _awaited(cursor, task_id, failure.left["waits_for"])
    if failure.left:
        waited.append(failure.left)
    else:
        cursor.execute(BACK_IN_LINE, {"id": task_id})
    if waited:
        cursor.execute(BACK_TO_WAITING, {"waited": json.dumps(waited)})
    for group_id in groups:  # the innermost first: an outer group counts those that are open
        cursor.execute(REOPEN, (group_id,))
    cursor.execute(BACK_IN_STREAM, ([task_id, *(row["task_id"] for row in waited)],))
    if released:
        cursor.execute(LET_GO, released)
        (adopted,) = cursor.fetchone() or (None,)
        if adopted:
            advance_with(cursor, map(str, adopted))


def _awaited(cursor: CursorWrapper, task_id: str, awaited: str) -> dict[str, Any] | None:
    """Return what a task waited for if that has succeeded, None if it has yet to end. Raises ``ValueError`` if not."""
    cursor.execute(AWAITED, {"id": awaited})
    row = cursor.fetchone()
    if row is None:
        raise ValueError(f"expected a task of which all that it needs is kept, got: {task_id}, which needs {awaited}")
    succeeded, is_group = row
    if succeeded is False:
        raise ValueError(f"expected the task that failed, got: {task_id}, which waited for {awaited}")
    if succeeded and is_group:
        _check_whole(cursor, [awaited])
    return {"id": awaited, "is_group": is_group} if succeeded else None


def _check_whole(cursor: CursorWrapper, groups: list[str]) -> None:
    cursor.execute(MISSING, (groups,))
    if missing := cursor.fetchall():
        raise ValueError(
            f"expected a chord of which all values are kept, got: group {missing[0][0]}, of which some were pruned or "
            "forgotten. Apply the workflow again."
        )


def _dependent(cursor: CursorWrapper, workflow_id: str, task_id: str) -> tuple[list[Waiting], list[str]]:
    """Return the waiting rows of what failed because of a task, and the groups that did, in the order of their fall."""
    cursor.execute(FALLEN, (workflow_id,))
    followers: dict[str, list[Waiting]] = defaultdict(list)
    member_of: dict[str, str | None] = {}
    for id, group_id, waited in cursor.fetchall():
        member_of[id] = group_id
        if waited:
            waiting = json.loads(waited)
            followers[waiting["waits_for"]].append(waiting)
    cursor.execute(FALLEN_GROUPS, (workflow_id,))
    fallen_groups: dict[str, str | None] = dict(cursor.fetchall())
    member_of |= fallen_groups
    still_failed = Counter(member_of.values())
    rising, waited_for, groups = [task_id], [], []
    for node in rising:  # grows meanwhile
        waited_for += followers[node]
        rising += [waiting["task_id"] for waiting in followers[node]]
        group_id = member_of.get(node)
        still_failed[group_id] -= 1
        if group_id in fallen_groups and not still_failed[group_id]:
            groups.append(group_id)
            rising.append(group_id)
    _check_whole(cursor, groups)
    return waited_for, groups
