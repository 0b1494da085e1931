"""Results: what callers read about a task, by its id, on their own connection."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from django.db.backends.utils import CursorWrapper

from djqueue.records import StoredResult
from djqueue.states import Ending, ScheduleReason

from .groups import DELETE_UNUSED

RESULT = """
SELECT state, value::text, error::text, attempt, worker, finished_at
FROM djqueue_taskresult
WHERE task_id = %s
"""

RESULTS = """
SELECT task_id::text, state, value::text, error::text, attempt, worker, finished_at
FROM djqueue_taskresult
WHERE task_id = ANY (%s::uuid[])
"""

# OFFSET keeps the order out of the look for children, which might else be a walk through all tasks in that order.
CHILDREN = """
SELECT id::text, group_id::text
FROM (SELECT id, group_id, options FROM djqueue_task WHERE parent_id = %s OFFSET 0) AS child
WHERE options -> 'add_to_parent' IS DISTINCT FROM 'false'::jsonb
ORDER BY id
"""

# One statement, so that a task which moves on meanwhile is seen in one place.
PLACE = f"""
SELECT
    (SELECT state FROM djqueue_taskresult WHERE task_id = %(id)s),
    EXISTS (SELECT FROM djqueue_runningtask WHERE task_id = %(id)s),
    (SELECT state FROM djqueue_runningtask WHERE task_id = %(id)s),
    EXISTS (
        SELECT FROM djqueue_scheduledtask WHERE task_id = %(id)s AND reason = {ScheduleReason.RETRY.value}
    )
"""

CALL = "SELECT name, args::text, kwargs::text, queue FROM djqueue_task WHERE id = %s"

META = "SELECT (SELECT meta::text FROM djqueue_runningtask WHERE task_id = %s)"

RETRIES = f"SELECT count(*) FROM djqueue_taskattempt WHERE task_id = %s AND outcome = {Ending.RETRIED.value}"

# The error of a task that waits for another attempt is its last attempt's.
RETRY_ERROR = f"""
SELECT (SELECT error::text FROM djqueue_taskattempt WHERE task_id = %(id)s ORDER BY attempt DESC LIMIT 1)
FROM djqueue_scheduledtask
WHERE task_id = %(id)s AND reason = {ScheduleReason.RETRY.value}
"""

FORGET = """
WITH result AS (
    DELETE FROM djqueue_taskresult AS stored
    WHERE task_id = ANY (%s::uuid[]) AND NOT coalesce((
        SELECT pending > 0 AND NOT failed
        FROM djqueue_taskgroup
        WHERE id = (SELECT group_id FROM djqueue_task WHERE id = stored.task_id LIMIT 1)
        LIMIT 1
    ), false)
    RETURNING task_id
),
attempts AS (
    DELETE FROM djqueue_taskattempt WHERE task_id = ANY (ARRAY(SELECT task_id FROM result))
)
DELETE FROM djqueue_task WHERE id = ANY (ARRAY(SELECT task_id FROM result))
RETURNING workflow_id, group_id
"""


def read_result(cursor: CursorWrapper, task_id: str) -> StoredResult | None:
    """Return the result of a finished task, or None."""
    cursor.execute(RESULT, (task_id,))
    row = cursor.fetchone()
    return None if row is None else StoredResult._make(row)


def read_results(cursor: CursorWrapper, task_ids: Sequence[str]) -> dict[str, StoredResult]:
    """Return the results of those of the tasks that have finished, by id."""
    cursor.execute(RESULTS, (list(task_ids),))
    return {row[0]: StoredResult._make(row[1:]) for row in cursor.fetchall()}


def read_children(cursor: CursorWrapper, task_id: str) -> list[tuple[str, str | None]]:
    """Return ids and groups of the tasks that a task has caused, in the order of their ids."""
    cursor.execute(CHILDREN, (task_id,))
    rows: list[tuple[str, str | None]] = cursor.fetchall()
    return rows


class Place(NamedTuple):
    """Where a task stands: its final ``State`` if it has one, and what a running one shows of itself."""

    final: int | None
    running: bool
    shown: str | None
    retrying: bool


def read_place(cursor: CursorWrapper, task_id: str) -> Place:
    """Return where a task stands. An unknown one stands nowhere, as one does that waits in line."""
    cursor.execute(PLACE, {"id": task_id})
    row: Any = cursor.fetchone()
    return Place._make(row)


class StoredCall(NamedTuple):
    """What was asked for; ``args`` and ``kwargs`` are JSON text."""

    name: str
    args: str
    kwargs: str
    queue: str


def read_call(cursor: CursorWrapper, task_id: str) -> StoredCall | None:
    """Return what was asked for under an id, or None."""
    cursor.execute(CALL, (task_id,))
    row = cursor.fetchone()
    return None if row is None else StoredCall._make(row)


def read_meta(cursor: CursorWrapper, task_id: str) -> str | None:
    """Return what a running task says of its progress, as JSON text."""
    cursor.execute(META, (task_id,))
    row: Any = cursor.fetchone()
    text: str | None = row[0]
    return text


def read_retries(cursor: CursorWrapper, task_id: str) -> int:
    """Return how often a task asked to run again."""
    cursor.execute(RETRIES, (task_id,))
    row: Any = cursor.fetchone()
    return int(row[0])


def read_retry_error(cursor: CursorWrapper, task_id: str) -> str | None:
    """Return the last error, as JSON, of a task that waits for a retry."""
    cursor.execute(RETRY_ERROR, {"id": task_id})
    row: tuple[str | None] | None = cursor.fetchone()
    return None if row is None else row[0]


def forget(cursor: CursorWrapper, task_ids: Sequence[str]) -> int:
    """Delete finished tasks with all that was stored about them; return how many.

    Unfinished ones stay, and those whose value the body of a chord has yet to be given.
    """
    cursor.execute(FORGET, (list(task_ids),))
    forgotten = cursor.fetchall()
    workflows, groups = (
        ([of for of in column if of] for column in zip(*forgotten, strict=True)) if forgotten else ([], [])
    )
    if workflows or groups:
        cursor.execute(DELETE_UNUSED, {"workflows": workflows, "groups": groups})
    return len(forgotten)
