"""Grow: what a task adds to its workflow when its attempt ends, in the transaction in which it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection, Rollback

from djqueue.records import Outcome
from djqueue.states import Ending

from .advance import lock_workflow
from .conclude import conclude
from .gates import vacate
from .plant import PLANT

# Fenced like settling. The task keeps its row and its followers; it waits for what took its place.
STEP_BACK = """
WITH held AS (
    DELETE FROM djqueue_runningtask
    WHERE task_id = %(id)s AND attempt = %(attempt)s AND worker_id = %(worker_id)s
    RETURNING task_id, attempt
)
INSERT INTO djqueue_waitingtask (task_id, waits_for, takes, attempt)
SELECT task_id, %(waits_for)s, 3, attempt FROM held
RETURNING task_id
"""

# Members that are added have the index of the last one and those after it.
MAKE_ROOM = """
UPDATE djqueue_taskgroup SET size = size + %(number)s, pending = pending + %(number)s
WHERE id = %(id)s AND pending IS NOT NULL
RETURNING size - %(number)s
"""


async def grow(connection: AsyncConnection, worker_id: int, worker_name: str, outcomes: Sequence[Outcome]) -> set[str]:
    """Settle attempts that add to their workflow; return the ids of those that the worker still held.

    ``grown`` of an outcome is ``{"tasks", "groups", "workflow_id", "waits_for", "group_id", "added"}``: rows as
    ``planned.as_rows`` makes them, and either what the task now waits for, or the group of which they are members.
    """
    settled: set[str] = set()
    for outcome in sorted(outcomes):
        grown = json.loads(outcome.grown or "{}")
        async with connection.transaction():
            await lock_workflow(connection, grown["workflow_id"])
            if outcome.ending == Ending.REPLACED:
                held = await _step_back(connection, worker_id, outcome, grown)
            else:
                held = await _add(connection, worker_id, worker_name, outcome, grown)
            if not held:
                raise Rollback
            settled.add(outcome.id)
    return settled


async def _step_back(connection: AsyncConnection, worker_id: int, outcome: Outcome, grown: dict[str, Any]) -> bool:
    values = {
        "id": outcome.id,
        "attempt": outcome.attempt,
        "worker_id": worker_id,
        "waits_for": grown["waits_for"],
    }
    if await (await connection.execute(STEP_BACK, values)).fetchone() is None:
        return False
    await _plant(connection, grown)
    # Also in an ordered stream: what takes its place may be the next of it.
    await vacate(connection, [outcome.id], [outcome.id])
    return True


async def _add(
    connection: AsyncConnection, worker_id: int, worker_name: str, outcome: Outcome, grown: dict[str, Any]
) -> bool:
    room = {"id": grown["group_id"], "number": grown["added"]}
    row = await (await connection.execute(MAKE_ROOM, room)).fetchone()
    if row is not None:
        for member in (*grown["tasks"], *grown["groups"]):
            if member.get("group_id") == grown["group_id"]:
                member["group_index"] += row[0]
        await _plant(connection, grown)
    return outcome.id in await conclude(connection, worker_id, worker_name, [outcome])


async def _plant(connection: AsyncConnection, grown: dict[str, Any]) -> None:
    values = {
        "workflow_id": grown["workflow_id"],
        "tasks": json.dumps(grown["tasks"]),
        "groups": json.dumps(grown["groups"]),
    }
    await connection.execute(PLANT, values)
