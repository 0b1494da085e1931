"""Looks: what workers are asked of tasks that none of them holds."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import datetime
from typing import Any, NamedTuple

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from djqueue.records import Lane

BATCH = 500
MOST = 5000
"""Delayed tasks that are looked at, at the most, for those of some queues."""

# The order of the primary key; each batch begins where the last one ended.
DUE = """
SELECT scheduled.run_at, task.id::text, task.name, task.queue, task.priority
FROM djqueue_scheduledtask AS scheduled
CROSS JOIN LATERAL (
    SELECT id, name, queue, priority FROM djqueue_task WHERE id = scheduled.task_id LIMIT 1
) AS task
WHERE (scheduled.run_at, scheduled.task_id) > (%s, %s::uuid)
ORDER BY scheduled.run_at, scheduled.task_id
LIMIT %s
"""
BEFORE_ALL = ("-infinity", "00000000-0000-0000-0000-000000000000")

# One probe of the primary key for each lane.
BACKLOG = """
SELECT
    (
        SELECT min(first.seq)
        FROM unnest(%s::text[], %s::smallint[], %s::bigint[]) AS lane (queue, priority, floor)
        CROSS JOIN LATERAL (
            SELECT ready.seq
            FROM djqueue_readytask AS ready
            WHERE ready.queue = lane.queue AND ready.priority = lane.priority AND ready.seq >= lane.floor
            ORDER BY ready.queue, ready.priority, ready.seq
            LIMIT 1
        ) AS first
    ),
    (SELECT last_value FROM djqueue_readytask_seq)
"""

CANCELLATIONS = "SELECT task_id::text FROM djqueue_cancelledtask ORDER BY asked_at, task_id LIMIT %s"

ARGUMENTS = "SELECT id::text, name, args::text, kwargs::text FROM djqueue_task WHERE id = ANY (%s::uuid[])"


class DueTask(NamedTuple):
    """A task that waits for its time."""

    run_at: datetime
    id: str
    name: str
    queue: str
    priority: int


class Arguments(NamedTuple):
    """What a task was called with, as JSON text."""

    name: str
    args: str
    kwargs: str


async def due_tasks(connection: AsyncConnection, limit: int, serves: Callable[[str], bool]) -> list[DueTask]:
    """Return the first ``limit`` delayed tasks whose queue is served, of the first ``MOST`` of all."""
    found: list[DueTask] = []
    after: tuple[Any, str] = BEFORE_ALL
    for _ in range(MOST // BATCH):
        rows = await (await connection.execute(DUE, (*after, BATCH))).fetchall()
        found += [task for row in rows if serves((task := DueTask._make(row)).queue)]
        if len(rows) < BATCH or len(found) >= limit:
            break
        after = (rows[-1][0], rows[-1][1])
    return found[:limit]


async def backlog(connection: AsyncConnection, lanes: Sequence[Lane]) -> tuple[int | None, int]:
    """Return the lowest number in line in these lanes, None if nothing is, and the last that was drawn at all."""
    columns = [lane.queue for lane in lanes], [lane.priority for lane in lanes], [lane.floor for lane in lanes]
    row = await (await connection.execute(BACKLOG, columns)).fetchone()
    assert row is not None
    return row[0], row[1]


async def open_cancellations(connection: AsyncConnection, limit: int) -> list[str]:
    """Return the ids of the first ``limit`` tasks that are to be cancelled and could not be yet."""
    return [row[0] for row in await (await connection.execute(CANCELLATIONS, (limit,))).fetchall()]


def read_arguments(cursor: CursorWrapper, ids: Sequence[str]) -> dict[str, Arguments]:
    """Return what these tasks were called with, by id."""
    cursor.execute(ARGUMENTS, (list(ids),))
    return {row[0]: Arguments._make(row[1:]) for row in cursor.fetchall()}
