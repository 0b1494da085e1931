"""Pauses: what nobody may start for a while, and where such tasks wait."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import NamedTuple

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from djqueue.states import PauseKind, ScheduleReason

BATCH = 10_000

PAUSES = """
SELECT 'queue' AS kind, name, paused_until AS until
FROM djqueue_queue WHERE paused_until > statement_timestamp()
UNION ALL
SELECT kind, name, until FROM djqueue_pause WHERE until > statement_timestamp()
"""

LEFT = f"""
SELECT kind, name, until::text, extract(epoch FROM until - clock_timestamp())::double precision
FROM ({PAUSES}) AS paused
"""
LISTED = f"SELECT kind, name, until FROM ({PAUSES}) AS paused ORDER BY kind, name"

PAUSE_QUEUE = """
INSERT INTO djqueue_queue (name, paused_until)
VALUES (%(name)s, coalesce(%(until)s, statement_timestamp() + make_interval(secs => %(seconds)s)))
ON CONFLICT (name) DO UPDATE SET paused_until = excluded.paused_until
RETURNING paused_until
"""
PAUSE_TASKS = """
INSERT INTO djqueue_pause (kind, name, until)
VALUES (%(kind)s, %(name)s, coalesce(%(until)s, statement_timestamp() + make_interval(secs => %(seconds)s)))
ON CONFLICT (kind, name) DO UPDATE SET until = excluded.until, paused_at = statement_timestamp()
RETURNING until
"""
RESUME_QUEUE = """
UPDATE djqueue_queue SET paused_until = NULL WHERE name = %(name)s AND paused_until > statement_timestamp()
"""
RESUME_TASKS = """
WITH ended AS (DELETE FROM djqueue_pause WHERE kind = %(kind)s AND name = %(name)s RETURNING until)
SELECT FROM ended WHERE until > statement_timestamp()
"""

# Why this shape. A paused task that stayed in line would be walked over by every claim: with a backlog of them the
# others would be held up. So it is claimed like any other and put off in one move until its pause ends, which costs
# nothing where nothing is paused. The partial index finds what was put off among all that is scheduled. Those of a key
# cannot be told from the others here; one that is still paused is put off again.
BRING_FORWARD = f"""
WITH early AS MATERIALIZED (
    SELECT waiting.ctid AS place
    FROM djqueue_scheduledtask AS waiting
    WHERE waiting.reason = {ScheduleReason.PAUSED.value}
        AND waiting.run_at > coalesce(%(until)s, statement_timestamp())
        AND (
            %(name)s::text IS NULL
            OR EXISTS (SELECT FROM djqueue_task AS task WHERE task.id = waiting.task_id AND task.name = %(name)s)
        )
    ORDER BY waiting.run_at, waiting.task_id
    LIMIT {BATCH}
    FOR UPDATE
)
UPDATE djqueue_scheduledtask SET run_at = coalesce(%(until)s, statement_timestamp())
WHERE ctid = ANY (ARRAY(SELECT place FROM early))
"""

# Fenced as a release. The attempt is not counted.
PUT_OFF = f"""
WITH given AS MATERIALIZED (
    SELECT * FROM unnest(%s::uuid[], %s::integer[], %s::timestamptz[]) AS given (task_id, attempt, until)
),
held AS MATERIALIZED (
    SELECT running.place, given.task_id, given.attempt, given.until
    FROM given
    CROSS JOIN LATERAL (
        SELECT lease.ctid AS place
        FROM djqueue_runningtask AS lease
        WHERE lease.task_id = given.task_id AND lease.attempt = given.attempt AND lease.worker_id + 0 = %s
        LIMIT 1
        FOR UPDATE
    ) AS running
),
given_back AS (
    DELETE FROM djqueue_runningtask WHERE ctid = ANY (ARRAY(SELECT held.place FROM held))
)
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT until, task_id, attempt - 1, {ScheduleReason.PAUSED.value} FROM held
"""


class PauseLeft(NamedTuple):
    """Something that is paused; ``until`` as the database writes it, and the seconds ``left``."""

    kind: str
    name: str
    until: str
    left: float


class Paused(NamedTuple):
    """Something that is paused: a ``queue``, ``task`` or ``key`` of this name."""

    kind: str
    name: str
    until: datetime


def pause(
    cursor: CursorWrapper, kind: str, name: str, *, until: datetime | None = None, seconds: float | None = None
) -> datetime:
    """Pause a queue, task name or key until a time or for some seconds; return until when. A second call replaces the
    first."""
    values = {"kind": kind, "name": name, "until": until, "seconds": seconds}
    cursor.execute(PAUSE_QUEUE if kind == "queue" else PAUSE_TASKS, values)
    end: datetime = cursor.fetchone()[0]
    if kind != "queue":
        _bring_forward(cursor, kind, name, end)
    return end


def resume(cursor: CursorWrapper, kind: str, name: str) -> bool:
    """End a pause; return whether there was one. What it has put off is due now."""
    cursor.execute(RESUME_QUEUE if kind == "queue" else RESUME_TASKS, {"kind": kind, "name": name})
    ended: bool = cursor.rowcount > 0
    if kind != "queue":
        _bring_forward(cursor, kind, name, None)
    return ended


def _bring_forward(cursor: CursorWrapper, kind: str, name: str, until: datetime | None) -> None:
    values = {"until": until, "name": name if kind == PauseKind.TASK else None}
    while True:
        cursor.execute(BRING_FORWARD, values)
        if cursor.rowcount < BATCH:
            return


def list_pauses(cursor: CursorWrapper) -> list[Paused]:
    """Return what is paused now."""
    cursor.execute(LISTED)
    return [Paused._make(row) for row in cursor.fetchall()]


async def read_pauses(connection: AsyncConnection) -> list[PauseLeft]:
    """Return what is paused now, as a worker needs it."""
    return [PauseLeft._make(row) for row in await (await connection.execute(LEFT)).fetchall()]


async def put_off(connection: AsyncConnection, worker_id: int, claims: Sequence[tuple[str, int, str]]) -> None:
    """Put claimed tasks (id, attempt, until when) into the schedule, as if they had not been claimed."""
    ids, attempts, until = zip(*sorted(claims), strict=True)
    await connection.execute(PUT_OFF, (list(ids), list(attempts), list(until), worker_id))
