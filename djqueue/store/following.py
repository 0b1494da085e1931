"""Following: the tasks that wait for a task, and for those in turn."""

from __future__ import annotations

from typing import NamedTuple

from django.db.backends.utils import CursorWrapper

MOST = 1000
"""Tasks that are read at most."""

# UNION drops what was found already, such as the body that all members of a group lead to.
FOLLOWING = """
WITH RECURSIVE found (waited_for, task_id, group_id) AS (
    SELECT waiting.waits_for, task.id, task.group_id
    FROM djqueue_waitingtask AS waiting
    CROSS JOIN LATERAL (SELECT id, group_id FROM djqueue_task WHERE id = waiting.task_id LIMIT 1) AS task
    WHERE waiting.waits_for = %(id)s
    UNION
    SELECT waiting.waits_for, task.id, task.group_id
    FROM found
    CROSS JOIN LATERAL (
        SELECT task_id, waits_for FROM djqueue_waitingtask WHERE waits_for IN (found.task_id, found.group_id)
    ) AS waiting
    CROSS JOIN LATERAL (SELECT id, group_id FROM djqueue_task WHERE id = waiting.task_id LIMIT 1) AS task
)
SELECT
    found.waited_for::text, task.id::text, task.group_id::text, waiting.takes, task.name, task.queue, task.priority,
    task.args::text, task.kwargs::text, task.options::text
FROM found
CROSS JOIN LATERAL (SELECT * FROM djqueue_task WHERE id = found.task_id LIMIT 1) AS task
CROSS JOIN LATERAL (SELECT takes FROM djqueue_waitingtask WHERE task_id = found.task_id LIMIT 1) AS waiting
ORDER BY task.id
LIMIT %(most)s
"""


class Follower(NamedTuple):
    """A task that waits for the task or group ``waits_for``. Arguments and options are JSON texts."""

    waits_for: str
    id: str
    group_id: str | None
    takes: int
    name: str
    queue: str
    priority: int
    args: str
    kwargs: str
    options: str | None


def followers(cursor: CursorWrapper, task_id: str) -> list[Follower]:
    """Return what waits for a task, directly and indirectly."""
    cursor.execute(FOLLOWING, {"id": task_id, "most": MOST})
    return [Follower._make(row) for row in cursor.fetchall()]
