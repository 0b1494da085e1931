"""Follow: what waits for something that has succeeded is released."""

from __future__ import annotations

from .functions import Block
from .values import VALUES, in_front

# Why this shape. `$1` are tasks and groups that have succeeded, `$2` the groups among them, whose results are only put
# together where a follower takes them. Returns the tasks that end by this, because what they were replaced by has.
# Tasks are told apart by what they take: 1 is `Takes.VALUE`, 2 `Takes.NOTHING`, 3 `Takes.ITS_PLACE`.
FOLLOW = Block(
    verb="follow",
    arguments=("uuid[]", "uuid[]"),
    returns="uuid[]",
    declare="    adopted uuid[];",
    statements=f"""
WITH released AS (
    DELETE FROM djqueue_waitingtask WHERE waits_for = ANY ($1)
    RETURNING task_id, waits_for, takes, attempt, run_at, run_in, expires_in
),
list AS MATERIALIZED (
    SELECT id, {VALUES.name}(id) AS value
    FROM unnest($2) AS id
    WHERE EXISTS (SELECT FROM released WHERE released.waits_for = id AND released.takes <> 2)
),
valued AS MATERIALIZED (
    SELECT released.*, CASE WHEN released.takes <> 2 THEN coalesce(
        (SELECT value FROM djqueue_taskresult WHERE task_id = released.waits_for LIMIT 1),
        (SELECT value FROM list WHERE list.id = released.waits_for),
        'null'::jsonb
    ) END AS value
    FROM released
),
filled AS (
    UPDATE djqueue_task AS task
    SET args = CASE WHEN valued.takes = 1 THEN {in_front("valued.value", "task.args")} ELSE task.args END,
        expires_at = coalesce(task.expires_at, clock_timestamp() + make_interval(secs => valued.expires_in))
    FROM valued
    CROSS JOIN LATERAL (SELECT ctid AS place FROM djqueue_task WHERE id = valued.task_id LIMIT 1) AS found
    WHERE task.ctid = found.place AND (valued.takes = 1 OR valued.takes = 2 AND valued.expires_in IS NOT NULL)
),
scheduled AS (
    INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT coalesce(run_at, clock_timestamp() + make_interval(secs => run_in)), task_id, attempt, 1
    FROM valued
    WHERE takes <> 3 AND (run_at IS NOT NULL OR run_in IS NOT NULL)
),
in_line AS (
    INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT task.queue, task.priority, task.id, valued.attempt
    FROM valued
    CROSS JOIN LATERAL (
        SELECT id, queue, priority FROM djqueue_task WHERE id = valued.task_id LIMIT 1
    ) AS task
    WHERE valued.takes <> 3 AND valued.run_at IS NULL AND valued.run_in IS NULL
),
stored AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, value, finished_at)
    SELECT task_id, 5, attempt, '', NULLIF(value, 'null'::jsonb), clock_timestamp()
    FROM valued
    WHERE takes = 3
)
SELECT array_agg(task_id) INTO adopted FROM valued WHERE takes = 3;

RETURN adopted;
""",
)
