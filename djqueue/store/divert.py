"""Divert: take limited tasks out of line in great numbers, where they stand before those that could run."""

from __future__ import annotations

from collections.abc import Sequence

from psycopg import AsyncConnection

from djqueue.records import Lane
from djqueue.routing import FRONT

from .functions import Function
from .gates import FIRST_GATE

LOOK = 1000
"""Tasks of each lane to look at."""

# Why this shape. A claim takes as many tasks as its worker has room for. If all of them are parked, that is how fast it
# gets through a backlog of limited tasks: 6,000 a second with room for eight, 36,000 by this. Only what is moved is
# locked, so that other claims do not pass over the rest. A row that was claimed meanwhile is gone, and its ctid may
# be another's.
DIVERT = Function(
    verb="divert",
    arguments=("text[]", "smallint[]", "bigint[]", "integer"),
    returns="gate text",
    statement=f"""
WITH seen AS MATERIALIZED (
    SELECT line.place, line.task_id, line.attempt
    FROM unnest($1, $2, $3) AS lane (queue, priority, floor)
    CROSS JOIN LATERAL (
        SELECT ready.ctid AS place, ready.task_id, ready.attempt
        FROM djqueue_readytask AS ready
        WHERE ready.queue = lane.queue
            AND ready.priority = lane.priority
            AND ready.seq >= lane.floor
        ORDER BY ready.queue, ready.priority, ready.seq
        LIMIT $4
    ) AS line
    WHERE right(lane.queue, 1) <> '{FRONT}'
),
limited AS MATERIALIZED (
    SELECT seen.*, -task.priority AS rank, coalesce((task.options ->> 'slots')::smallint, 1) AS slots, task.expires_at,
        {FIRST_GATE} AS gate
    FROM seen
    CROSS JOIN LATERAL (
        SELECT name, queue, priority, options, expires_at FROM djqueue_task WHERE id = seen.task_id LIMIT 1
    ) AS task
),
held AS MATERIALIZED (
    SELECT limited.*
    FROM limited
    CROSS JOIN LATERAL (
        SELECT FROM djqueue_readytask AS line
        WHERE line.ctid = limited.place AND line.task_id = limited.task_id
        LIMIT 1
        FOR UPDATE SKIP LOCKED
    ) AS still_there
    WHERE limited.gate IS NOT NULL
),
left_the_line AS (
    DELETE FROM djqueue_readytask
    WHERE ctid = ANY (ARRAY(SELECT held.place FROM held))
),
parked AS (
    INSERT INTO djqueue_parkedtask (gate, rank, task_id, attempt, slots, expires_at)
    SELECT held.gate, held.rank, held.task_id, held.attempt, held.slots, held.expires_at
    FROM held
)
SELECT held.gate FROM held GROUP BY held.gate
""",
)

CALL = f"SELECT gate FROM {DIVERT.name}(%s::text[], %s::smallint[], %s::bigint[], %s)"


async def divert(connection: AsyncConnection, lanes: Sequence[Lane]) -> list[str]:
    """Park limited tasks among the first of each lane, and return the names of their gates."""
    values = [lane.queue for lane in lanes], [lane.priority for lane in lanes], [lane.floor for lane in lanes], LOOK
    return [row[0] for row in await (await connection.execute(CALL, values)).fetchall()]
