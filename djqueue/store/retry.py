"""Retry: an attempt ended and asked for another."""

from __future__ import annotations

import json
from collections.abc import Sequence

from psycopg import AsyncConnection

from djqueue.records import Outcome
from djqueue.serializers import encode

from .arrays import array_literal
from .functions import Function
from .gates import vacate

# Why this shape. Fenced and ordered like settling. Each retry leaves a row in TaskAttempt, and those rows are the count
# that the next claim reports: no counter to keep in step. What is due at once goes straight into line. 11 is
# `Ending.RETRIED`, 2 is `ScheduleReason.RETRY`.
RETRY = Function(
    verb="retry",
    arguments=(
        "bigint",
        "text",
        "uuid[]",
        "integer[]",
        "double precision[]",
        "double precision[]",
        "jsonb",
        "jsonb",
    ),
    returns="id text",
    statement="""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest($3, $4, $5, $6) AS given (task_id, attempt, started, finished)
),
held AS MATERIALIZED (
    SELECT running.place, given.*, $8 -> given.task_id::text AS plan
    FROM given
    CROSS JOIN LATERAL (
        SELECT lease.ctid AS place
        FROM djqueue_runningtask AS lease
        WHERE lease.task_id = given.task_id
            AND lease.attempt = given.attempt
            AND lease.worker_id + 0 = $1
        LIMIT 1
        FOR UPDATE
    ) AS running
),
given_back AS (
    DELETE FROM djqueue_runningtask
    WHERE ctid = ANY (ARRAY(SELECT held.place FROM held))
),
remembered AS (
    INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, started_at, finished_at)
    SELECT
        held.task_id, held.attempt, 11, $2, $7 -> held.task_id::text,
        to_timestamp(held.started), to_timestamp(held.finished)
    FROM held
    ON CONFLICT (task_id, attempt) DO NOTHING
),
placed AS MATERIALIZED (
    SELECT
        held.task_id, held.attempt, (held.plan ->> 'countdown')::double precision AS countdown,
        coalesce(held.plan -> 'change' ->> 'queue', task.queue) AS queue,
        coalesce((held.plan -> 'change' ->> 'priority')::smallint, task.priority) AS priority
    FROM held
    CROSS JOIN LATERAL (
        SELECT queue, priority FROM djqueue_task WHERE id = held.task_id LIMIT 1
    ) AS task
),
scheduled AS (
    INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT clock_timestamp() + make_interval(secs => placed.countdown), placed.task_id, placed.attempt, 2
    FROM placed
    WHERE placed.countdown > 0
),
in_line AS (
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT placed.queue, placed.priority, placed.task_id, placed.attempt
    FROM placed
    WHERE placed.countdown <= 0
)
SELECT held.task_id::text FROM held
""",
)

# The task's own row is written only here, by a retry that changes what was called.
CHANGE = """
UPDATE djqueue_task
SET args = coalesce(%(change)s::jsonb -> 'args', args),
    kwargs = coalesce(%(change)s::jsonb -> 'kwargs', kwargs),
    queue = coalesce(%(change)s::jsonb ->> 'queue', queue),
    priority = coalesce((%(change)s::jsonb ->> 'priority')::smallint, priority),
    options = CASE
        WHEN %(change)s::jsonb ? 'options' THEN coalesce(options, '{}'::jsonb) || (%(change)s::jsonb -> 'options')
        ELSE options
    END
WHERE id = %(id)s
"""

CALL = (
    f"SELECT id FROM {RETRY.name}(%s, %s, %s::uuid[], %s::integer[], %s::double precision[],"
    " %s::double precision[], %s::jsonb, %s::jsonb)"
)


async def retry(connection: AsyncConnection, worker_id: int, worker_name: str, outcomes: Sequence[Outcome]) -> set[str]:
    """Have attempts made again as their outcomes plan, and return the ids of those that the worker still held."""
    ordered = sorted(outcomes)
    values = (
        worker_id,
        worker_name,
        array_literal(o.id for o in ordered),
        array_literal(str(o.attempt) for o in ordered),
        array_literal("NULL" if o.started is None else repr(o.started) for o in ordered),
        array_literal(repr(o.finished) for o in ordered),
        "{" + ",".join(f'"{o.id}":{o.error}' for o in ordered if o.error) + "}",
        "{" + ",".join(f'"{o.id}":{o.retry}' for o in ordered) + "}",
    )
    changes = {o.id: json.loads(o.retry).get("change") for o in ordered if o.retry}
    async with connection.transaction():
        held = {row[0] for row in await (await connection.execute(CALL, values)).fetchall()}
        for task_id in held:
            if change := changes.get(task_id):
                await connection.execute(CHANGE, {"id": task_id, "change": encode(change)})
        await vacate(connection, held)
    return held
