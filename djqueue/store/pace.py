"""Pace: let tasks that a rate limit holds back pass when tokens are due.

The tokens of a gate are one timestamp, the moment at which the next one is free (the generic cell rate algorithm, as in
ITU-T I.371), so nothing has to fill a bucket. They are given out some at a time, as many as have become free since the
last time, so that the row of a gate is written a few times a second however high its rate.
"""

from __future__ import annotations

from psycopg import AsyncConnection

from djqueue.routing import FRONT

from .functions import Block
from .gates import POKE, QUEUE_GATE

GATES = 200
"""Gates to look at in one statement."""
MOST = 2000
"""Tasks of one gate that pass at once."""
CHUNK = 0.1
"""Seconds between two times that tokens of one gate are given out, unless a single one takes longer."""
BURST = 0.5
"""Seconds for which tokens that nobody took are kept; none, if the limit is strict."""

# Why this shape. A gate is locked first and read in the next statement, which sees what was parked meanwhile. SKIP
# LOCKED: who has the gate does this very work. As long as the task that passed last is still in line no more tokens are
# given out, or workers would find a heap of tasks when they have time again. A gate whose limit is gone lets all pass.
# One kind after the other, because tasks go from the limit of their name to that of their queue, and locks are taken
# in that order.
PACE = Block(
    verb="pace",
    arguments=("smallint", "integer", "integer"),
    returns="TABLE (passed bigint, next_in double precision)",
    declare=f"""
    moment timestamptz := clock_timestamp();
    due text[];
    paced text[];
    burst interval := make_interval(secs => {BURST});
""",
    statements=f"""
passed := 0;
due := ARRAY(
    SELECT known.gate
    FROM djqueue_rategate AS known
    WHERE known.kind = $1 AND known.wakes_at <= moment
    ORDER BY known.kind, known.wakes_at
    LIMIT $2
    FOR UPDATE SKIP LOCKED
);
IF due <> '{{}}' THEN
    moment := clock_timestamp();
    WITH gate AS MATERIALIZED (
        SELECT known.gate, limited.per_second, coalesce(limited.strict, false) AS strict, known.last_task_id,
            greatest(
                least(known.free_at, moment + make_interval(secs => 1 / limited.per_second)),
                CASE WHEN limited.strict THEN moment ELSE moment - burst END
            ) AS base,
            known.last_task_id IS NOT NULL
                AND EXISTS (SELECT FROM djqueue_task AS task WHERE task.id = known.last_task_id)
                AND NOT EXISTS (SELECT FROM djqueue_runningtask AS place WHERE place.task_id = known.last_task_id)
                AND NOT EXISTS (SELECT FROM djqueue_taskresult AS place WHERE place.task_id = known.last_task_id)
                AND NOT EXISTS (SELECT FROM djqueue_scheduledtask AS place WHERE place.task_id = known.last_task_id)
                AND NOT EXISTS (SELECT FROM djqueue_waitingtask AS place WHERE place.task_id = known.last_task_id)
                AND NOT EXISTS (SELECT FROM djqueue_parkedtask AS place WHERE place.task_id = known.last_task_id)
                AS crowded
        FROM unnest(due) AS given (gate)
        CROSS JOIN LATERAL (
            SELECT * FROM djqueue_rategate WHERE gate = given.gate LIMIT 1
        ) AS known
        LEFT JOIN LATERAL (
            SELECT per_second, strict FROM djqueue_ratelimit WHERE kind = known.kind AND name = known.name LIMIT 1
        ) AS limited ON true
    ),
    stocked AS MATERIALIZED (
        SELECT gate.*, CASE
            WHEN gate.per_second IS NULL THEN $3
            WHEN gate.crowded OR gate.base > moment THEN 0
            WHEN gate.strict THEN 1
            ELSE least($3, 1 + floor(extract(epoch FROM moment - gate.base) * gate.per_second))::integer
        END AS tokens
        FROM gate
    ),
    next AS MATERIALIZED (
        SELECT stocked.gate, line.*
        FROM stocked
        CROSS JOIN LATERAL (
            SELECT parked.task_id, parked.attempt, parked.rank, parked.seq
            FROM djqueue_parkedtask AS parked
            WHERE parked.gate = stocked.gate
            ORDER BY parked.gate, parked.rank, parked.seq
            LIMIT stocked.tokens
            FOR UPDATE SKIP LOCKED
        ) AS line
    ),
    known AS MATERIALIZED (
        SELECT next.*, task.queue, task.priority, CASE WHEN $1 = 1 THEN {QUEUE_GATE} END AS onto
        FROM next
        CROSS JOIN LATERAL (
            SELECT id, queue, priority FROM djqueue_task WHERE id = next.task_id LIMIT 1
        ) AS task
    ),
    gone AS (
        DELETE FROM djqueue_parkedtask
        WHERE task_id = ANY (ARRAY(SELECT known.task_id FROM known WHERE known.onto IS NULL))
    ),
    moved AS (
        UPDATE djqueue_parkedtask AS parked
        SET gate = (SELECT known.onto FROM known WHERE known.task_id = parked.task_id),
            seq = nextval('djqueue_readytask_seq'), parked_at = clock_timestamp()
        WHERE parked.task_id = ANY (ARRAY(SELECT known.task_id FROM known WHERE known.onto IS NOT NULL))
    ),
    in_front AS (
        INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
        SELECT known.queue || '{FRONT}', known.priority, known.task_id, known.attempt
        FROM known
        WHERE known.onto IS NULL
    ),
    spent AS (
        SELECT stocked.gate, count(next.task_id) AS tasks, (
            array_agg(next.task_id ORDER BY next.rank DESC, next.seq DESC)
        )[1] AS last_task_id
        FROM stocked LEFT JOIN next ON next.gate = stocked.gate
        GROUP BY stocked.gate
    ),
    kept AS (
        UPDATE djqueue_rategate AS told
        SET (free_at, last_task_id, wakes_at) = (
            SELECT
                CASE WHEN stocked.per_second IS NULL THEN '-infinity'
                    ELSE stocked.base + make_interval(secs => spent.tasks / stocked.per_second) END,
                coalesce(spent.last_task_id, stocked.last_task_id),
                CASE
                    WHEN stocked.per_second IS NULL THEN CASE WHEN spent.tasks = stocked.tokens THEN moment END
                    WHEN stocked.crowded
                        THEN moment + make_interval(secs => greatest({CHUNK}, least(1, 1 / stocked.per_second)))
                    WHEN stocked.tokens = 0 THEN stocked.base
                    WHEN spent.tasks < stocked.tokens THEN NULL
                    WHEN stocked.strict THEN stocked.base + make_interval(secs => 1 / stocked.per_second)
                    ELSE greatest(
                        stocked.base + make_interval(secs => spent.tasks / stocked.per_second),
                        moment + make_interval(secs => {CHUNK})
                    )
                END
            FROM stocked JOIN spent ON spent.gate = stocked.gate
            WHERE stocked.gate = told.gate
        )
        WHERE told.gate = ANY (due)
    )
    SELECT count(*) FILTER (WHERE known.onto IS NULL), array_agg(known.onto) FILTER (WHERE known.onto IS NOT NULL)
    INTO passed, paced
    FROM known;
    IF paced IS NOT NULL THEN
        {POKE}
    END IF;
END IF;
next_in := (
    SELECT extract(epoch FROM known.wakes_at - clock_timestamp())::double precision
    FROM djqueue_rategate AS known
    WHERE known.kind = $1 AND known.wakes_at IS NOT NULL
    ORDER BY known.kind, known.wakes_at
    LIMIT 1
);
RETURN NEXT;
""",
)

# In the order in which tasks pass them; nobody is waited for after the first of the second kind was locked.
CALL = f"""
SELECT sum(paced.passed)::integer, min(paced.next_in)
FROM (VALUES (1::smallint), (2::smallint)) AS limited (kind)
CROSS JOIN LATERAL {PACE.name}(limited.kind, %s, %s) AS paced
"""


async def pace(connection: AsyncConnection) -> tuple[int, float | None]:
    """Put tasks for which tokens are due in front of their lines.

    Returns how many, and the seconds until there may be more (None while no rate limit holds anything back).
    """
    row = await (await connection.execute(CALL, (GATES, MOST))).fetchone()
    assert row is not None
    return row[0], None if row[1] is None else max(0.0, row[1])
