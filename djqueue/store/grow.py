"""Grow: what a task adds to its workflow when its attempt ends, in the transaction in which it ends."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from djqueue.records import Outcome
from djqueue.states import Ending

from .advance import lock_workflow
from .conclude import conclude
from .gates import vacate
from .plant import CALL as PLANT

# Fenced like settling, and like there the lease is locked before the workflow: who reclaims it does so, too.
LOCK_LEASE = """
SELECT FROM djqueue_runningtask WHERE task_id = %s AND attempt = %s AND worker_id = %s FOR UPDATE
"""

# The task keeps its row and its followers; it waits for what took its place, and belongs to the same workflow.
STEP_BACK = """
WITH held AS (
    DELETE FROM djqueue_runningtask WHERE task_id = %(id)s RETURNING task_id, attempt
),
joined AS (
    UPDATE djqueue_task SET workflow_id = %(workflow_id)s
    WHERE id = %(id)s AND workflow_id IS DISTINCT FROM %(workflow_id)s
)
INSERT INTO djqueue_waitingtask (task_id, waits_for, takes, attempt)
SELECT task_id, %(waits_for)s, 3, attempt FROM held
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
            lease = (outcome.id, outcome.attempt, worker_id)
            if await (await connection.execute(LOCK_LEASE, lease)).fetchone() is None:
                continue
            await lock_workflow(connection, grown["workflow_id"])
            if outcome.ending == Ending.REPLACED:
                await _step_back(connection, outcome, grown)
            else:
                await _add(connection, worker_id, worker_name, outcome, grown)
            settled.add(outcome.id)
    return settled


async def _step_back(connection: AsyncConnection, outcome: Outcome, grown: dict[str, Any]) -> None:
    values = {"id": outcome.id, "waits_for": grown["waits_for"], "workflow_id": grown["workflow_id"]}
    await connection.execute(STEP_BACK, values)
    await _plant(connection, grown)
    # Also in an ordered stream: what takes its place may be the next of it.
    await vacate(connection, [outcome.id], [outcome.id])


async def _add(
    connection: AsyncConnection, worker_id: int, worker_name: str, outcome: Outcome, grown: dict[str, Any]
) -> None:
    room = {"id": grown["group_id"], "number": grown["added"]}
    row = await (await connection.execute(MAKE_ROOM, room)).fetchone()
    if row is not None:
        for member in (*grown["tasks"], *grown["groups"]):
            if member.get("group_id") == grown["group_id"]:
                member["group_index"] += row[0]
        await _plant(connection, grown)
    await conclude(connection, worker_id, worker_name, [outcome])


async def _plant(connection: AsyncConnection, grown: dict[str, Any]) -> None:
    values = {
        "workflow_id": grown["workflow_id"],
        "tasks": json.dumps(grown["tasks"]),
        "groups": json.dumps(grown["groups"]),
        "lazily": False,
    }
    await connection.execute(PLANT, values)
