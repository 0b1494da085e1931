"""Rename runs: slots of schedules whose unique task was there already get that task's id."""

from __future__ import annotations

from collections.abc import Sequence

from django.db.backends.base.base import BaseDatabaseWrapper

from .beat import Run

RENAME_RUNS = """
UPDATE djqueue_schedulerun AS noted
SET task_id = run.task_id, note = run.note
FROM unnest(%s::bigint[], %s::timestamptz[], %s::uuid[], %s::text[]) AS run (schedule_id, due_at, task_id, note)
WHERE noted.schedule_id = run.schedule_id AND noted.due_at = run.due_at
"""


def rename_runs(connection: BaseDatabaseWrapper, runs: Sequence[Run]) -> None:
    """Note another task for slots, and why."""
    columns = [
        list(column) for column in zip(*((r.schedule_id, r.due_at, r.task_id, r.note) for r in runs), strict=True)
    ]
    with connection.cursor() as cursor:
        cursor.execute(RENAME_RUNS, columns)
