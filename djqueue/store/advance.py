"""Advance: what the end of tasks means for those that wait for them.

A follower of what succeeded is released with its value; a follower of what did not fails with its error; and both go
on from there, however deep, in the transaction in which the first task ended. So nothing is ever left waiting for
something that has ended, and nobody has to look for it.

All of a workflow's steps forward are made under one lock, so that two tasks that end at the same time see each other.
"""

from __future__ import annotations

from collections.abc import Iterable

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from .arrays import array_literal
from .follow import FOLLOW
from .functions import Block
from .values import REPR, VALUES, in_front

LOCK_CLASS = 1684697445
"""The first key of the advisory locks of workflows: ``djqe`` in ASCII."""

# Why this shape. Each turn of the loop takes the tasks and groups that have ended since the last one, `done` with
# success and `dead` without, and ends what depends on them; a chain that fails takes a turn a step. A group's row is
# updated once a turn, whatever the number of members that ended, and of what the most common step of all, the next one
# of a chain, has no need nothing is set up: no group, no failure. A function is called by an assignment, which needs no
# executor. DISTINCT sorts the locks. Of what takes 3 is `Takes.ITS_PLACE`, of states 5 is
# succeeded, 6 failed, 7 cancelled. What waited is kept with the error of what fails with it, so that it can be put
# back. A task's own failure and that of a body whose header failed call errbacks; a step behind another that failed
# does not. No condition on a looked-up row implies that of a partial index (`group_id IS NOT NULL`): on tables analysed
# while they were empty the planner then walked through that whole index. `num_nonnulls` says the same, unknown to it.
ADVANCE = Block(
    verb="advance",
    arguments=("uuid[]",),
    returns="void",
    declare="""
    stripes integer[];
    stripe integer;
    grouped boolean;
    nothing text;
    done uuid[];
    joined uuid[] := '{}';
    dead uuid[];
    causes jsonb := '{}';
    calling uuid[];
    complete uuid[];
    fallen jsonb;
    adopted uuid[];
    failed jsonb;
""",
    statements=f"""
SELECT
    array_agg(DISTINCT hashtext(task.workflow_id::text) & 255) FILTER (WHERE task.workflow_id IS NOT NULL),
    bool_or(task.group_id IS NOT NULL)
INTO stripes, grouped
FROM unnest($1) AS ended (id)
CROSS JOIN LATERAL (SELECT workflow_id, group_id FROM djqueue_task WHERE id = ended.id LIMIT 1) AS task;

FOREACH stripe IN ARRAY coalesce(stripes, '{{}}') LOOP
    nothing := pg_advisory_xact_lock({LOCK_CLASS}, stripe);
END LOOP;

SELECT
    array_agg(result.task_id) FILTER (WHERE result.state = 5),
    array_agg(result.task_id) FILTER (WHERE result.state <> 5)
INTO done, dead
FROM djqueue_taskresult AS result
WHERE result.task_id = ANY ($1);

IF dead IS NOT NULL THEN
    SELECT
        coalesce(jsonb_object_agg(result.task_id, jsonb_build_object(
            'state', result.state,
            'error', coalesce(result.error, jsonb_build_object(
                'exc_type', 'TaskRevokedError', 'exc_module', 'djqueue.exceptions', 'exc_message', '["revoked"]'::jsonb
            )) - 'left'
        )), '{{}}'),
        array_agg(result.task_id) FILTER (WHERE result.state = 6)
    INTO causes, calling
    FROM djqueue_taskresult AS result
    WHERE result.task_id = ANY (dead);
END IF;

WHILE done IS NOT NULL OR dead IS NOT NULL LOOP
    complete := NULL; fallen := '{{}}'; adopted := NULL; failed := '{{}}';

    IF done IS NOT NULL AND grouped THEN
        WITH member AS (
            SELECT task.group_id
            FROM unnest(done) AS ended (id)
            CROSS JOIN LATERAL (SELECT group_id FROM djqueue_task WHERE id = ended.id LIMIT 1) AS task
            UNION ALL
            SELECT inner_group.group_id
            FROM unnest(joined) AS ended (id)
            CROSS JOIN LATERAL (SELECT group_id FROM djqueue_taskgroup WHERE id = ended.id LIMIT 1) AS inner_group
        ),
        ended AS MATERIALIZED (
            SELECT group_id, count(*) AS number FROM member WHERE group_id IS NOT NULL GROUP BY group_id
        ),
        counted AS (
            UPDATE djqueue_taskgroup AS counting
            SET pending = pending - (SELECT number FROM ended WHERE ended.group_id = counting.id)
            WHERE counting.id = ANY (ARRAY(SELECT group_id FROM ended)) AND counting.pending IS NOT NULL
            RETURNING counting.id, counting.pending, counting.failed
        )
        SELECT array_agg(id) FILTER (WHERE pending = 0 AND NOT failed) INTO complete FROM counted;

        IF complete IS NOT NULL THEN
            UPDATE djqueue_taskgroup AS inner_group SET value = {VALUES.name}(inner_group.id)
            WHERE inner_group.id = ANY (complete) AND num_nonnulls(inner_group.group_id) = 1;
        END IF;
    END IF;

    IF done IS NOT NULL THEN
        adopted := {FOLLOW.name}(done, joined);
    END IF;

    IF dead IS NOT NULL THEN
        WITH member AS (
            SELECT ended.id, task.group_id, true AS is_task
            FROM unnest(dead) AS ended (id)
            CROSS JOIN LATERAL (SELECT group_id FROM djqueue_task WHERE id = ended.id LIMIT 1) AS task
            UNION ALL
            SELECT ended.id, inner_group.group_id, false
            FROM unnest(dead) AS ended (id)
            CROSS JOIN LATERAL (SELECT group_id FROM djqueue_taskgroup WHERE id = ended.id LIMIT 1) AS inner_group
        ),
        culprit AS MATERIALIZED (
            SELECT group_id, min(id::text) AS id, (array_agg(is_task ORDER BY id::text))[1] AS is_task
            FROM member WHERE group_id IS NOT NULL GROUP BY group_id
        ),
        marked AS (
            UPDATE djqueue_taskgroup SET failed = true
            WHERE id = ANY (ARRAY(SELECT group_id FROM culprit)) AND pending IS NOT NULL AND NOT failed
            RETURNING id
        )
        SELECT coalesce(jsonb_object_agg(marked.id, jsonb_build_object('state', 6, 'error',
            CASE WHEN culprit.is_task THEN jsonb_build_object(
                'exc_type', 'ChordError', 'exc_module', 'djqueue.exceptions', 'traceback', NULL,
                'exc_message', jsonb_build_array(
                    'Dependency ' || culprit.id || ' raised ' || {REPR.name}(causes -> culprit.id -> 'error')
                ),
                'cause', coalesce(causes -> culprit.id -> 'error' -> 'cause', causes -> culprit.id -> 'error')
            ) ELSE causes -> culprit.id -> 'error' END
        )), '{{}}')
        INTO fallen
        FROM marked JOIN culprit ON culprit.group_id = marked.id;

        WITH dropped AS (
            DELETE FROM djqueue_waitingtask WHERE waits_for = ANY (dead) RETURNING *
        ),
        blamed AS MATERIALIZED (
            SELECT dropped.*, to_jsonb(dropped) AS waited, causes -> dropped.waits_for::text AS cause FROM dropped
        ),
        stored AS (
            INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, finished_at)
            SELECT task_id, (cause ->> 'state')::smallint, attempt, '',
                (cause -> 'error') || jsonb_build_object('waited', waited), clock_timestamp()
            FROM blamed
        )
        SELECT
            coalesce(jsonb_object_agg(task_id, cause), '{{}}'),
            calling || array_agg(task_id) FILTER (WHERE takes = 3 OR NOT EXISTS (
                SELECT FROM djqueue_task WHERE id = blamed.waits_for
            ))
        INTO failed, calling
        FROM blamed;
    END IF;

    IF calling IS NOT NULL AND cardinality(calling) > 0 THEN
        WITH errback AS MATERIALIZED (
            SELECT {{new_id}} AS id, spec, failing.id AS failed_id, failing.root_id, jsonb_build_object(
                'id', failing.id, 'task', failing.name, 'args', failing.args, 'kwargs', failing.kwargs,
                'root_id', failing.root_id, 'parent_id', failing.parent_id, 'group', failing.group_id,
                'error', result.error - 'waited'
            ) AS failing
            FROM unnest(calling) AS called (id)
            CROSS JOIN LATERAL (
                SELECT * FROM djqueue_task WHERE id = called.id AND options ? 'link_error' LIMIT 1
            ) AS failing
            CROSS JOIN LATERAL (
                SELECT error FROM djqueue_taskresult WHERE task_id = called.id AND state = 6 LIMIT 1
            ) AS result
            CROSS JOIN LATERAL jsonb_array_elements(failing.options -> 'link_error') AS spec
        ),
        enqueued AS (
            INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, options, parent_id, root_id)
            SELECT
                id, spec ->> 'task', spec ->> 'queue', (spec ->> 'priority')::smallint,
                CASE WHEN (spec -> 'immutable')::boolean THEN spec -> 'args'
                    ELSE {in_front("to_jsonb(failed_id)", "(spec -> 'args')")} END,
                spec -> 'kwargs',
                (spec -> 'options') || jsonb_build_object(
                    'errback', failing || jsonb_build_object('immutable', spec -> 'immutable')
                ),
                failed_id, coalesce(root_id, failed_id)
            FROM errback
        )
        INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
        SELECT spec ->> 'queue', (spec ->> 'priority')::smallint, id, 0 FROM errback;
    END IF;

    joined := coalesce(complete, '{{}}');
    done := NULLIF(coalesce(adopted, '{{}}') || joined, '{{}}');
    causes := failed || fallen;
    dead := NULL;
    IF causes <> '{{}}' THEN
        SELECT array_agg(key::uuid) INTO dead FROM jsonb_object_keys(causes) AS key;
    END IF;
    calling := NULL;
    grouped := true;
END LOOP;
""".replace(
        "{new_id}",
        # A UUID of version 7: 48 bits of milliseconds, the rest is random and carries the variant.
        """(
                overlay(gen_random_uuid()::text PLACING
                    regexp_replace(
                        lpad(to_hex(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint), 12, '0'),
                        '(.{8})(.{4})', '\\1-\\2-7'
                    ) FROM 1 FOR 15)
            )::uuid""",
    ),
)

LOCK = f"SELECT pg_advisory_xact_lock({LOCK_CLASS}, hashtext(%s) & 255)"

CALL = f"SELECT {ADVANCE.name}(%s::uuid[])"


# In one order, so that two who lock several never wait for each other.
LOCK_ALL = f"""
SELECT pg_advisory_xact_lock({LOCK_CLASS}, stripe)
FROM (
    SELECT DISTINCT hashtext(workflow_id::text) & 255 AS stripe
    FROM djqueue_task
    WHERE id = ANY (%s::uuid[]) AND workflow_id IS NOT NULL
    ORDER BY stripe
) AS stripes
"""


def lock_workflows_of(cursor: CursorWrapper, ids: Iterable[str]) -> None:
    """Let nobody else move the workflows of tasks forward until the end of the transaction."""
    cursor.execute(LOCK_ALL, (array_literal(ids),))


async def lock_workflow(connection: AsyncConnection, workflow_id: str) -> None:
    """Let nobody else move a workflow forward until the end of the transaction."""
    await connection.execute(LOCK, (workflow_id,))


async def advance(connection: AsyncConnection, ids: Iterable[str]) -> None:
    """Release or fail what waits for tasks that have just ended; in the transaction in which they did."""
    await connection.execute(CALL, (array_literal(ids),))


def advance_with(cursor: CursorWrapper, ids: Iterable[str]) -> None:
    """``advance`` for a Django cursor."""
    cursor.execute(CALL, (array_literal(ids),))
