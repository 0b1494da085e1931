"""Claim: the only way a task starts."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from djqueue.records import Claim, Claims, Lane
from djqueue.routing import FRONT, front_of, line_of

from .arrays import array_literal, quoted
from .divert import divert
from .functions import Function
from .gates import FIRST_GATE, admit
from .pace import pace

# Why this shape. One lane is one queue and priority; within it the primary key yields rows in claim order, so there is
# nothing to sort. The inner LIMIT sits under FOR UPDATE SKIP LOCKED in a materialised CTE: as a plain subquery of a
# DELETE or UPDATE the planner may run it once per row and claim more than was asked for. The outer LIMIT stops the
# nested loop, and with it the locking, as soon as enough rows are there. Rows of the line are never updated, so their
# ctid is stable and deleting by it needs no second index probe. `seq >= floor` keeps the scan off index entries that
# were claimed already but that vacuum cannot remove yet (store/floor.py). A row of the line whose task was deleted
# by hand falls out at the join. What few tasks have comes as one object, so that the others
# pay for one null. 11 is `Ending.RETRIED`. A worker whose row is gone was given up and gets nothing:
# nobody would believe its lease. A task that a limit may hold back is parked at its first gate instead of being leased
# (store/gates.py), unless it comes from the front of a line, where it has passed them. What was parked is told by rows
# that name the gate.
CLAIM = Function(
    verb="claim",
    arguments=("bigint", "text[]", "smallint[]", "bigint[]", "integer"),
    returns=(
        "id text, attempt integer, name text, args text, kwargs text, options text, "
        "queue text, priority smallint, created double precision, claimed double precision, context text, "
        "in_workflow boolean, holds_slot boolean, gate text"
    ),
    statement=f"""
WITH picked AS MATERIALIZED (
    SELECT line.place, line.task_id, line.attempt, right(lane.queue, 1) = '{FRONT}' AS in_front
    FROM unnest($2, $3, $4) AS lane (queue, priority, floor)
    CROSS JOIN LATERAL (
        SELECT ready.ctid AS place, ready.task_id, ready.attempt
        FROM djqueue_readytask AS ready
        WHERE ready.queue = lane.queue
            AND ready.priority = lane.priority
            AND ready.seq >= lane.floor
        ORDER BY ready.queue, ready.priority, ready.seq
        LIMIT $5
        FOR UPDATE SKIP LOCKED
    ) AS line
    WHERE EXISTS (SELECT FROM djqueue_worker WHERE djqueue_worker.id = $1)
    LIMIT $5
),
left_the_line AS (
    DELETE FROM djqueue_readytask
    WHERE ctid = ANY (ARRAY(SELECT picked.place FROM picked))
),
claimed AS MATERIALIZED (
    SELECT
        task.id, picked.attempt + 1 AS attempt, task.name, task.args, task.kwargs, task.options,
        task.queue, task.priority, task.created_at, clock_timestamp() AS claimed_at,
        task.workflow_id IS NOT NULL AS in_workflow, task.expires_at,
        CASE WHEN NOT picked.in_front THEN {FIRST_GATE} END AS gate,
        CASE WHEN
            task.parent_id IS NOT NULL OR task.workflow_id IS NOT NULL OR task.group_id IS NOT NULL
            OR task.expires_at IS NOT NULL OR picked.attempt > 0 OR note.task_id IS NOT NULL
        THEN json_build_object(
            'parent_id', task.parent_id,
            'root_id', task.root_id,
            'workflow_id', task.workflow_id,
            'group_id', task.group_id,
            'group_index', task.group_index,
            'chord', (
                SELECT true FROM djqueue_taskgroup WHERE id = task.group_id AND pending IS NOT NULL LIMIT 1
            ),
            'expires', extract(epoch FROM task.expires_at),
            'retries', (
                SELECT count(*) FROM djqueue_taskattempt AS earlier
                WHERE earlier.task_id = picked.task_id AND earlier.outcome = 11
            ),
            'cancelled', note.task_id IS NOT NULL
        ) END AS context
    FROM picked
    CROSS JOIN LATERAL (
        SELECT * FROM djqueue_task WHERE id = picked.task_id LIMIT 1
    ) AS task
    LEFT JOIN LATERAL (
        SELECT task_id FROM djqueue_cancelledtask WHERE task_id = picked.task_id LIMIT 1
    ) AS note ON true
),
leased AS (
    INSERT INTO djqueue_runningtask (task_id, attempt, worker_id, claimed_at)
    SELECT claimed.id, claimed.attempt, $1, claimed.claimed_at
    FROM claimed
    WHERE claimed.gate IS NULL
),
parked AS (
    INSERT INTO djqueue_parkedtask (gate, rank, task_id, attempt, slots, expires_at)
    SELECT
        claimed.gate, -claimed.priority, claimed.id, claimed.attempt - 1,
        coalesce((claimed.options ->> 'slots')::smallint, 1), claimed.expires_at
    FROM claimed
    WHERE claimed.gate IS NOT NULL
)
SELECT
    claimed.id::text, claimed.attempt, claimed.name,
    CASE WHEN claimed.gate IS NULL THEN claimed.args::text END,
    CASE WHEN claimed.gate IS NULL THEN claimed.kwargs::text END,
    claimed.options::text,
    claimed.queue, claimed.priority,
    extract(epoch FROM claimed.created_at)::double precision,
    extract(epoch FROM claimed.claimed_at)::double precision,
    claimed.context::text,
    claimed.in_workflow,
    claimed.options ? 'gate',
    claimed.gate
FROM claimed
""",
)

# Losing a claim in a crash of the server means a task that is back in line, so nobody needs to wait for the disk.
CALL = f"""
SELECT claim.*
FROM set_config('synchronous_commit', 'off', true) AS without_waiting,
    LATERAL {CLAIM.name}(%s, %s::text[], %s::smallint[], %s::bigint[], %s) AS claim
"""


async def claim(connection: AsyncConnection, worker_id: int, lanes: Sequence[Lane], wanted: int) -> Claims:
    """Take up to ``wanted`` ready tasks for a worker, in the order of ``lanes`` and of each lane's line."""
    rows = await _claim(connection, worker_id, lanes, wanted)
    return await with_limited(connection, worker_id, lanes, wanted, rows)


async def with_limited(
    connection: AsyncConnection, worker_id: int, lanes: Sequence[Lane], wanted: int, rows: Sequence[tuple[Any, ...]]
) -> Claims:
    """Return the claims among the rows of a claim, and those of tasks that were parked by it and may pass at once."""
    claims = Claims(Claim._make(row) for row in rows if row[-1] is None)
    if len(claims) == len(rows):
        return claims
    parked = [Claim._make(row) for row in rows if row[-1] is not None]
    claims.parked = {Lane(front_of(one.queue), one.priority) for one in parked}
    if await _let_pass(connection, [str(one.gate) for one in parked]) and len(claims) < wanted:
        fronts = [Lane(queue, p) for queue, p in dict.fromkeys((front_of(line_of(q)), p) for q, p, _ in lanes)]
        rows = await _claim(connection, worker_id, fronts, wanted - len(claims))
        claims += [Claim._make(row) for row in rows]
    if len(claims) * 2 < wanted and (gates := await divert(connection, lanes)):
        await _let_pass(connection, gates)
    return claims


async def _let_pass(connection: AsyncConnection, gates: Sequence[str]) -> bool:
    """Whether tasks that were just parked, or others at their gates, have gone to the front of a line."""
    passed, poked = await admit(connection, gates)
    if poked:
        passed += (await pace(connection))[0]
    return passed > 0


async def _claim(
    connection: AsyncConnection, worker_id: int, lanes: Sequence[Lane], wanted: int
) -> list[tuple[Any, ...]]:
    return await (await connection.execute(CALL, claim_parameters(worker_id, lanes, wanted))).fetchall()


def claim_parameters(worker_id: int, lanes: Sequence[Lane], wanted: int) -> tuple[Any, ...]:
    return (
        worker_id,
        array_literal(quoted(lane.queue) for lane in lanes),
        array_literal(str(lane.priority) for lane in lanes),
        array_literal(str(lane.floor) for lane in lanes),
        wanted,
    )
