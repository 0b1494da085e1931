"""Progress: the state of its own that a running task shows, in the row of its lease."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from .arrays import array_literal

# Fenced like settling. It goes with the row when the attempt ends.
NOTE = """
UPDATE djqueue_runningtask AS running
SET state = given.state, meta = given.meta::jsonb
FROM unnest(%s::uuid[], %s::integer[], %s::text[], %s::text[]) AS given (task_id, attempt, state, meta)
WHERE running.task_id = given.task_id AND running.attempt = given.attempt AND running.worker_id = %s
"""

NOTE_ONE = "UPDATE djqueue_runningtask SET state = %s, meta = %s::jsonb WHERE task_id = %s"


async def note_states(
    connection: AsyncConnection, worker_id: int, states: Sequence[tuple[str, int, str, str | None]]
) -> None:
    """Write ``(task_id, attempt, state, meta)`` of attempts that this worker holds; ``meta`` is JSON text."""
    ids, attempts, names, metas = zip(*sorted(states), strict=True)
    await connection.execute(
        NOTE, (array_literal(ids), array_literal(map(str, attempts)), list(names), list(metas), worker_id)
    )


def note_state(cursor: CursorWrapper, task_id: str, state: str, meta: str | None) -> bool:
    """Write the state of any running task; False if it does not run."""
    cursor.execute(NOTE_ONE, (state, meta, task_id))
    return bool(cursor.rowcount)
