"""Follow: what waits for something that has succeeded is released."""

from __future__ import annotations

from .functions import Block
from .values import VALUES, in_front

RELEASED = """unnest(ids, origins, kinds, attempts, moments, delays, expiries)
        AS released (task_id, waits_for, takes, attempt, run_at, run_in, expires_in)"""
VALUED = f"""WITH list AS MATERIALIZED (
        SELECT id, {VALUES.name}(id) AS value
        FROM unnest($2) AS id
        WHERE EXISTS (
            SELECT FROM unnest(origins, kinds) AS taker (waits_for, takes)
            WHERE taker.waits_for = id AND taker.takes <> 2
        )
    ),
    valued AS MATERIALIZED (
        SELECT released.*, CASE WHEN released.takes <> 2 THEN coalesce(
            (SELECT value FROM djqueue_taskresult WHERE task_id = released.waits_for LIMIT 1),
            (SELECT value FROM list WHERE list.id = released.waits_for),
            'null'::jsonb
        ) END AS value
        FROM {RELEASED}
    )"""

# Why this shape. `$1` are tasks and groups that have succeeded, `$2` the groups among them, whose results are only put
# together where a follower takes them. Returns the tasks that end by this, because what they were replaced by has.
# Tasks are told apart by what they take: 1 is `Takes.VALUE`, 2 `Takes.NOTHING`, 3 `Takes.ITS_PLACE`.
FOLLOW = Block(
    verb="follow",
    arguments=("uuid[]", "uuid[]"),
    returns="uuid[]",
    declare="""
    adopted uuid[];
    ids uuid[];
    origins uuid[];
    kinds smallint[];
    attempts integer[];
    moments timestamptz[];
    delays double precision[];
    expiries double precision[];
    filling boolean;
    in_line boolean;
    later boolean;
    adopting boolean;
""",
    statements=f"""
WITH gone AS (
    DELETE FROM djqueue_waitingtask WHERE waits_for = ANY ($1)
    RETURNING task_id, waits_for, takes, attempt, run_at, run_in, expires_in
)
SELECT
    array_agg(task_id), array_agg(waits_for), array_agg(takes), array_agg(attempt), array_agg(run_at),
    array_agg(run_in), array_agg(expires_in),
    bool_or(takes = 1 OR takes = 2 AND expires_in IS NOT NULL),
    bool_or(takes <> 3 AND run_at IS NULL AND run_in IS NULL),
    bool_or(takes <> 3 AND (run_at IS NOT NULL OR run_in IS NOT NULL)),
    bool_or(takes = 3)
INTO ids, origins, kinds, attempts, moments, delays, expiries, filling, in_line, later, adopting
FROM gone;

IF filling THEN
    {VALUED}
    UPDATE djqueue_task AS task
    SET args = CASE WHEN valued.takes = 1 THEN {in_front("valued.value", "task.args")} ELSE task.args END,
        expires_at = coalesce(task.expires_at, clock_timestamp() + make_interval(secs => valued.expires_in))
    FROM valued
    CROSS JOIN LATERAL (SELECT ctid AS place FROM djqueue_task WHERE id = valued.task_id LIMIT 1) AS found
    WHERE task.ctid = found.place AND (valued.takes = 1 OR valued.takes = 2 AND valued.expires_in IS NOT NULL);
END IF;

IF later THEN
    INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT coalesce(run_at, clock_timestamp() + make_interval(secs => run_in)), task_id, attempt, 1
    FROM {RELEASED}
    WHERE takes <> 3 AND (run_at IS NOT NULL OR run_in IS NOT NULL);
END IF;

IF adopting THEN
    {VALUED}
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, value, finished_at)
    SELECT task_id, 5, attempt, '', NULLIF(value, 'null'::jsonb), clock_timestamp()
    FROM valued
    WHERE takes = 3;
    SELECT array_agg(task_id) INTO adopted FROM {RELEASED} WHERE takes = 3;
END IF;

IF in_line THEN
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT task.queue, task.priority, task.id, released.attempt
    FROM {RELEASED}
    CROSS JOIN LATERAL (
        SELECT id, queue, priority FROM djqueue_task WHERE id = released.task_id LIMIT 1
    ) AS task
    WHERE released.takes <> 3 AND released.run_at IS NULL AND released.run_in IS NULL;
END IF;

RETURN adopted;
""",
)
