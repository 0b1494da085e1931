"""Cancel: take tasks out of line, or leave word for whoever runs or claims them."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from djqueue.limits import STREAM
from djqueue.routing import FRONT

from .advance import advance_with, lock_workflows_of
from .gates import ADMIT, vacate_with

# Why this shape. A waiting task is cancelled by whoever locks the row of its place, so a claim and a cancellation never
# both have it. The line has no index by task; one lane is read for all tasks of it at once, which takes the longer
# the more stand in it, unless it is known between which numbers they are. Rows of the other tables are looked up one by
# one, which no statistics turn into a walk through all of them. What is running, or being claimed just now,
# or not known at all, gets a note, which the next claim of it honours. What a step of a workflow waited for is kept
# with its error, so that it can be put back. 7 is `State.CANCELLED`.
CANCEL = f"""
WITH asked AS MATERIALIZED (
    SELECT DISTINCT id FROM unnest(%(ids)s::uuid[]) AS asked (id)
    WHERE (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = asked.id LIMIT 1) IS NULL
),
scheduled AS (
    DELETE FROM djqueue_scheduledtask
    WHERE task_id = ANY (ARRAY(
        SELECT waiting.task_id
        FROM asked
        CROSS JOIN LATERAL (
            SELECT task_id FROM djqueue_scheduledtask WHERE task_id = asked.id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS waiting
    ))
    RETURNING task_id, attempt
),
unreleased AS (
    DELETE FROM djqueue_waitingtask
    WHERE task_id = ANY (ARRAY(
        SELECT waiting.task_id
        FROM asked
        CROSS JOIN LATERAL (
            SELECT task_id FROM djqueue_waitingtask WHERE task_id = asked.id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS waiting
    ))
    RETURNING task_id, attempt, to_jsonb(djqueue_waitingtask) AS place
),
parked AS (
    DELETE FROM djqueue_parkedtask
    WHERE task_id = ANY (ARRAY(
        SELECT waiting.task_id
        FROM asked
        CROSS JOIN LATERAL (
            SELECT task_id FROM djqueue_parkedtask WHERE task_id = asked.id LIMIT 1 FOR UPDATE SKIP LOCKED
        ) AS waiting
    ))
    RETURNING task_id, attempt
),
lane AS MATERIALIZED (
    SELECT DISTINCT task.queue || part.suffix AS queue, task.priority
    FROM djqueue_task AS task
    CROSS JOIN (VALUES (''), ('{FRONT}')) AS part (suffix)
    WHERE task.id = ANY (ARRAY(SELECT id FROM asked))
        AND (SELECT true FROM djqueue_runningtask AS running WHERE running.task_id = task.id LIMIT 1) IS NULL
        AND (SELECT true FROM djqueue_scheduledtask AS waiting WHERE waiting.task_id = task.id LIMIT 1) IS NULL
        AND (SELECT true FROM djqueue_waitingtask AS waiting WHERE waiting.task_id = task.id LIMIT 1) IS NULL
        AND (SELECT true FROM djqueue_parkedtask AS waiting WHERE waiting.task_id = task.id LIMIT 1) IS NULL
),
ready AS (
    DELETE FROM djqueue_readytask
    WHERE ctid = ANY (ARRAY(
        SELECT line.ctid
        FROM djqueue_readytask AS line
        JOIN lane ON lane.queue = line.queue AND lane.priority = line.priority
        WHERE line.task_id = ANY (%(ids)s::uuid[]) AND line.seq BETWEEN %(low)s AND %(high)s
        FOR UPDATE OF line SKIP LOCKED
    ))
    RETURNING task_id, attempt
),
cancelled AS MATERIALIZED (
    SELECT task_id, attempt, place FROM unreleased
    UNION ALL SELECT task_id, attempt, NULL FROM scheduled
    UNION ALL SELECT task_id, attempt, NULL FROM parked
    UNION ALL SELECT task_id, attempt, NULL FROM ready
),
stored AS (
    INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, error, finished_at)
    SELECT
        task_id, 7, attempt, '',
        %(error)s::jsonb || CASE WHEN place IS NULL THEN '{{}}' ELSE jsonb_build_object('left', place) END,
        clock_timestamp()
    FROM cancelled
),
counted AS (
    INSERT INTO djqueue_statistic (at, resolution, name, queue, cancelled)
    SELECT date_trunc('minute', clock_timestamp()), 0, task.name, task.queue, count(*)
    FROM cancelled
    CROSS JOIN LATERAL (SELECT name, queue FROM djqueue_task WHERE id = cancelled.task_id LIMIT 1) AS task
    GROUP BY task.name, task.queue
),
noted AS (
    INSERT INTO djqueue_cancelledtask (task_id, terminate, signum, asked_at)
    SELECT id, %(terminate)s, %(signum)s, clock_timestamp() FROM asked
    WHERE id NOT IN (SELECT task_id FROM cancelled)
    ORDER BY id
    ON CONFLICT (task_id) DO UPDATE
    SET terminate = djqueue_cancelledtask.terminate OR excluded.terminate,
        signum = coalesce(excluded.signum, djqueue_cancelledtask.signum)
)
SELECT task_id::text FROM cancelled
"""

JOINED = """
SELECT id::text FROM djqueue_task WHERE id = ANY (%s::uuid[]) AND (workflow_id IS NOT NULL OR options ? 'gate')
"""

# Who follows a task in an ordered stream may be parked although nobody holds the slot.
LET_FOLLOW = f"""
SELECT {ADMIT.name}(ARRAY(
    SELECT DISTINCT options ->> 'gate' FROM djqueue_task
    WHERE id = ANY (%s::uuid[]) AND options ->> 'gate' LIKE '{STREAM}%%'
))
"""

# A note about a finished task has done its work; one about an unknown task is remembered for a while.
FORGET = """
DELETE FROM djqueue_cancelledtask AS note
WHERE note.asked_at < statement_timestamp() - make_interval(secs => %s)
    OR (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = note.task_id LIMIT 1)
"""


# What a worker runs is bounded, notes of unknown tasks are not: so the leases are the outer side.
ASKED = """
SELECT lease.task_id::text, note.terminate, note.signum
FROM djqueue_runningtask AS lease
CROSS JOIN LATERAL (
    SELECT terminate, signum FROM djqueue_cancelledtask WHERE task_id = lease.task_id LIMIT 1
) AS note
WHERE lease.worker_id = %s
"""


ANYWHERE = (0, 2**63 - 1)
"""The lowest and the highest number that a task in line may have."""


class Cancellation(NamedTuple):
    """A note about a task that runs; ``signum`` is the OS signal to begin with when it is to be terminated."""

    task_id: str
    terminate: bool
    signum: int | None


def cancel(
    cursor: CursorWrapper,
    ids: Sequence[str],
    error: str,
    *,
    terminate: bool,
    signum: int | None = None,
    among: tuple[int, int] = ANYWHERE,
) -> set[str]:
    """Cancel tasks and return the ids of those that were waiting; they have ended with ``error`` (JSON text).

    What waits for them ends with them, and slots that they hold are handed on. Tasks of workflows, and those that may
    hold a slot, are cancelled when a transaction that is open has committed, and are not in the answer then. For the
    others that have not finished a note is left. What is in line is looked for ``among`` these numbers only.
    """
    values = {"error": error, "terminate": terminate, "signum": signum, "low": among[0], "high": among[1]}
    cursor.execute(JOINED, (list(ids),))
    joined = {row[0] for row in cursor.fetchall()}
    if not joined:
        return _cancel(cursor, ids, values)
    alone = [task_id for task_id in ids if task_id not in joined]
    cancelled = _cancel(cursor, alone, values) if alone else set()
    if cursor.db.in_atomic_block:
        # Its workflow, or its key, would stand still until this transaction ends.
        later = partial(cancel_later, cursor.db, sorted(joined), error, terminate=terminate, signum=signum, among=among)
        transaction.on_commit(later, using=cursor.db.alias)
        return cancelled
    with transaction.atomic(using=cursor.db.alias):
        lock_workflows_of(cursor, joined)
        ended = _cancel(cursor, sorted(joined), values)
        advance_with(cursor, ended)
        vacate_with(cursor, ended)
        cursor.execute(LET_FOLLOW, (list(ended),))
    return cancelled | ended


def cancel_later(connection: BaseDatabaseWrapper, ids: Sequence[str], error: str, **how: Any) -> None:
    with connection.cursor() as cursor:
        cancel(cursor, ids, error, **how)


def _cancel(cursor: CursorWrapper, ids: Sequence[str], values: dict[str, Any]) -> set[str]:
    cursor.execute(CANCEL, {"ids": list(ids), **values})
    return {row[0] for row in cursor.fetchall()}


async def cancellations(connection: AsyncConnection, worker_id: int) -> list[Cancellation]:
    """Return the notes about what a worker runs."""
    cursor = await connection.execute(ASKED, (worker_id,))
    return [Cancellation._make(row) for row in await cursor.fetchall()]


async def forget_notes(connection: AsyncConnection, keep: float) -> None:
    """Delete notes that have done their work, or that are older than ``keep`` seconds."""
    await connection.execute(FORGET, (keep,))
