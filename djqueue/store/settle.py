"""Settle: the only way a task ends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from djqueue.records import Outcome

from .arrays import array_literal
from .functions import Function

# Why this shape. The fence comes first: only rows that this worker holds under this attempt are locked and deleted, so
# an outcome that arrives after its lease was reclaimed changes nothing. The ids come sorted, which makes every batch
# lock in one order. `worker_id + 0` keeps the planner from reading all of the worker's leases through the
# index on worker_id instead of one row by primary key. Values travel as one JSON array and errors, which are rare,
# as an object by id: no element is quoted twice. 5, 6 and 7 are `State`'s final states, 8 is `Ending.FORGOTTEN`.
# Most batches have no failure and nothing to forget.
STORED = """WITH held AS MATERIALIZED (
    SELECT running.place, outcome.*
    FROM ROWS FROM (unnest($3, $4, $5, $8, $9), jsonb_array_elements($6))
        AS outcome (task_id, attempt, ending, started, finished, value)
    CROSS JOIN LATERAL (
        SELECT lease.ctid AS place
        FROM djqueue_runningtask AS lease
        WHERE lease.task_id = outcome.task_id
            AND lease.attempt = outcome.attempt
            AND lease.worker_id + 0 = $1
        LIMIT 1
        FOR UPDATE
    ) AS running
),
given_back AS (
    DELETE FROM djqueue_runningtask
    WHERE ctid = ANY (ARRAY(SELECT held.place FROM held))
),
stored AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, value, error, started_at, finished_at)
    SELECT
        held.task_id, held.ending, held.attempt, $2, NULLIF(held.value, 'null'::jsonb), $7 -> held.task_id::text,
        to_timestamp(held.started), to_timestamp(held.finished)
    FROM held
    WHERE held.ending <= 7
)"""
REMEMBERED = """remembered AS (
    INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, started_at, finished_at)
    SELECT
        held.task_id, held.attempt, held.ending, $2, $7 -> held.task_id::text,
        to_timestamp(held.started), to_timestamp(held.finished)
    FROM held
    WHERE held.ending = 6
    ON CONFLICT (task_id, attempt) DO NOTHING
),
forgotten AS (
    DELETE FROM djqueue_task
    WHERE id = ANY (ARRAY(SELECT held.task_id FROM held WHERE held.ending = 8))
),
history_forgotten AS (
    DELETE FROM djqueue_taskattempt
    WHERE task_id = ANY (ARRAY(SELECT held.task_id FROM held WHERE held.ending = 8 AND held.attempt > 1))
)"""
HELD = "SELECT held.task_id::text FROM held"

SETTLE = Function(
    verb="settle",
    arguments=(
        "bigint",
        "text",
        "uuid[]",
        "integer[]",
        "smallint[]",
        "jsonb",
        "jsonb",
        "double precision[]",
        "double precision[]",
    ),
    returns="id text",
    statement=f"""{STORED},
{REMEMBERED}
{HELD}
""",
    lean=("NOT (6 = ANY ($5) OR 8 = ANY ($5))", f"{STORED}\n{HELD}"),
)

CALL = (
    f"SELECT id FROM {SETTLE.name}(%s, %s, %s::uuid[], %s::integer[], %s::smallint[], %s::jsonb, %s::jsonb,"
    " %s::double precision[], %s::double precision[])"
)


async def settle(
    connection: AsyncConnection, worker_id: int, worker_name: str, outcomes: Sequence[Outcome]
) -> set[str]:
    """Write how attempts ended and return the ids of those that this worker still held.

    An id that is missing from the answer was reclaimed meanwhile: its outcome is void and nothing was changed. Only
    for outcomes that finish a task; see ``release`` and ``lose`` for the others. Raises ``psycopg.DataError`` and
    stores nothing if PostgreSQL refuses one of the values.
    """
    cursor = await connection.execute(CALL, settle_parameters(worker_id, worker_name, outcomes))
    return {row[0] for row in await cursor.fetchall()}


def settle_parameters(worker_id: int, worker_name: str, outcomes: Sequence[Outcome]) -> tuple[Any, ...]:
    ordered = sorted(outcomes)
    return (
        worker_id,
        worker_name,
        array_literal(o.id for o in ordered),
        array_literal(str(o.attempt) for o in ordered),
        array_literal(str(int(o.ending)) for o in ordered),
        "[" + ",".join(o.value or "null" for o in ordered) + "]",
        "{" + ",".join(f'"{o.id}":{o.error}' for o in ordered if o.error) + "}",
        array_literal("NULL" if o.started is None else repr(o.started) for o in ordered),
        array_literal(repr(o.finished) for o in ordered),
    )
