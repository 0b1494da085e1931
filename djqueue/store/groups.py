"""Groups: the rows that keep the results of a group together."""

from __future__ import annotations

from django.db.backends.utils import CursorWrapper

SAVE = """
INSERT INTO djqueue_taskgroup (id, size, saved) VALUES (%(id)s, 0, %(saved)s::jsonb)
ON CONFLICT (id) DO UPDATE SET saved = excluded.saved
"""
UNSAVE = "UPDATE djqueue_taskgroup SET saved = NULL WHERE id = %s"
# A group that a workflow waits for stays.
DELETE = "DELETE FROM djqueue_taskgroup WHERE id = %s AND pending IS NULL"
# Of workflows and groups of which tasks were deleted just now, by statements before this one, which must see that. The
# subqueries are scalar, so that they are never made a join of all tasks.
DELETE_UNUSED = """
WITH of_workflows AS (
    DELETE FROM djqueue_taskgroup AS unused
    WHERE workflow_id = ANY (%(workflows)s::uuid[])
        AND (SELECT id FROM djqueue_task WHERE workflow_id = unused.workflow_id LIMIT 1) IS NULL
)
DELETE FROM djqueue_taskgroup AS unused
WHERE id = ANY (%(groups)s::uuid[]) AND pending IS NULL
    AND (SELECT id FROM djqueue_task WHERE group_id = unused.id LIMIT 1) IS NULL
"""
READ = "SELECT saved::text FROM djqueue_taskgroup WHERE id = %s"


def save_group(cursor: CursorWrapper, group_id: str, saved: str) -> None:
    """Keep what ``GroupResult.as_tuple`` says of a group, as JSON text."""
    cursor.execute(SAVE, {"id": group_id, "saved": saved})


def delete_group(cursor: CursorWrapper, group_id: str) -> None:
    """Forget what was saved of a group."""
    cursor.execute(DELETE, (group_id,))
    cursor.execute(UNSAVE, (group_id,))


def read_group(cursor: CursorWrapper, group_id: str) -> str | None:
    """Return what was saved of a group as JSON text, or None."""
    cursor.execute(READ, (group_id,))
    row: tuple[str | None] | None = cursor.fetchone()
    return None if row is None else row[0]
