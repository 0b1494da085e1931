"""What beats do to schedules: look, lock what is due, note what became of it, go on to the next slot."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any, NamedTuple
from uuid import UUID

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

CHANNEL = "djqueue_beat"
LONGEST_TRANSACTION = "10s"
"""A beat that stops in the middle of firing loses its transaction, and with it its locks, after so long."""

OVER = "over"
"""A key of ``Schedule.declared``: a beat switched it off, after its last slot, and not an operator."""

NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, '')"

# Why this shape. One statement, for a beat with nothing to do sends nothing else. Each part is the first entry of an
# index over enabled schedules; as EXISTS or min() the planner may prefer to walk through all of them.
LOOK = """
SELECT
    clock.now,
    (
        SELECT id FROM djqueue_schedule
        WHERE enabled AND next_run_at <= clock.now AND (held_until IS NULL OR held_until <= clock.now)
        ORDER BY next_run_at, id LIMIT 1
    ) IS NOT NULL,
    (
        SELECT id FROM djqueue_schedule
        WHERE enabled AND next_run_at IS NULL AND (held_until IS NULL OR held_until <= clock.now)
        ORDER BY next_run_at, id LIMIT 1
    ) IS NOT NULL,
    extract(epoch FROM least(
        (
            SELECT next_run_at FROM djqueue_schedule
            WHERE enabled AND next_run_at > clock.now ORDER BY next_run_at, id LIMIT 1
        ),
        (
            SELECT held_until FROM djqueue_schedule
            WHERE enabled AND held_until > clock.now ORDER BY held_until LIMIT 1
        )
    ) - clock.now)::double precision
FROM (SELECT coalesce(%s::timestamptz, statement_timestamp()) AS now) AS clock
"""

COLUMNS = """
    id, name, task, args::text, kwargs::text, queue, priority, options::text, kind, expression, every, relative,
    clocked_at, solar_event, latitude, longitude, timezone, start_at, end_at,
    extract(epoch FROM expires)::double precision, extract(epoch FROM jitter)::double precision,
    misfire, misfire_limit, overlap, one_off, next_run_at, held_until IS NOT NULL, last_task_id
"""

# Why this shape. SKIP LOCKED lets any number of beats fire side by side: each takes what no other has. A row that
# another has advanced meanwhile is looked at again once it is locked, and no longer matches. The planner does not see
# the limit: where it takes fewer to be due than that, it would read and sort all schedules.
LOCK_DUE = f"""
SELECT {COLUMNS}
FROM djqueue_schedule
WHERE enabled AND next_run_at <= %(now)s AND (held_until IS NULL OR held_until <= %(now)s)
ORDER BY next_run_at, id
LIMIT (SELECT %(limit)s)
FOR UPDATE SKIP LOCKED
"""
LOCK_UNSET = f"""
SELECT {COLUMNS}
FROM djqueue_schedule
WHERE enabled AND next_run_at IS NULL AND (held_until IS NULL OR held_until <= %(now)s)
ORDER BY id
LIMIT %(limit)s
FOR UPDATE SKIP LOCKED
"""
DUE_IDS = """
SELECT id FROM djqueue_schedule
WHERE enabled AND (next_run_at <= %(now)s OR next_run_at IS NULL) AND (held_until IS NULL OR held_until <= %(now)s)
ORDER BY next_run_at, id
LIMIT %(limit)s
"""
LOCK_ONE_DUE = f"""
SELECT {COLUMNS}
FROM djqueue_schedule
WHERE id = %(id)s AND enabled AND (next_run_at <= %(now)s OR next_run_at IS NULL)
    AND (held_until IS NULL OR held_until <= %(now)s)
FOR UPDATE SKIP LOCKED
"""
PUT_OFF = """
UPDATE djqueue_schedule SET held_until = %s, last_error = %s, last_error_at = clock_timestamp() WHERE id = %s
RETURNING name
"""
LOCK_ONE = f"SELECT {COLUMNS} FROM djqueue_schedule WHERE id = %s FOR UPDATE"

UNFINISHED = """
SELECT task.id
FROM unnest(%s::uuid[]) AS asked (id)
CROSS JOIN LATERAL (SELECT id FROM djqueue_task WHERE id = asked.id LIMIT 1) AS task
WHERE (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = asked.id LIMIT 1) IS NULL
"""

# The key decides: of two that note the same slot, one is told that it is new.
INSERT_RUNS = """
INSERT INTO djqueue_schedulerun (schedule_id, due_at, fired_at, fate, task_id, note)
SELECT schedule_id, due_at, clock_timestamp(), fate, task_id, note
FROM unnest(%s::bigint[], %s::timestamptz[], %s::smallint[], %s::uuid[], %s::text[])
    AS run (schedule_id, due_at, fate, task_id, note)
ON CONFLICT (schedule_id, due_at) DO NOTHING
RETURNING schedule_id, due_at
"""

ADVANCE = f"""
UPDATE djqueue_schedule AS schedule
SET next_run_at = step.next_run_at, held_until = step.held_until, enabled = schedule.enabled AND step.enabled,
    declared = CASE WHEN step.enabled THEN schedule.declared ELSE schedule.declared || '{{"{OVER}": true}}' END,
    last_run_at = coalesce(step.last_run_at, schedule.last_run_at),
    last_task_id = coalesce(step.last_task_id, schedule.last_task_id),
    total_runs = schedule.total_runs + step.runs,
    total_skipped = schedule.total_skipped + step.skipped,
    last_error = CASE WHEN step.error <> '' OR step.runs > 0 THEN step.error ELSE schedule.last_error END,
    last_error_at = CASE WHEN step.error <> '' THEN clock_timestamp() ELSE schedule.last_error_at END
FROM unnest(
    %s::bigint[], %s::timestamptz[], %s::timestamptz[], %s::boolean[], %s::timestamptz[], %s::uuid[],
    %s::integer[], %s::integer[], %s::text[]
) AS step (id, next_run_at, held_until, enabled, last_run_at, last_task_id, runs, skipped, error)
WHERE schedule.id = step.id
"""

logger = logging.getLogger("djqueue.wakeup")


class Look(NamedTuple):
    """The database's time; whether something is due, or has no slot yet; seconds until the next slot."""

    now: datetime
    due: bool
    unset: bool
    next_in: float | None


class DueRow(NamedTuple):
    """A schedule that this beat has locked. JSON columns are text; ``expires`` and ``jitter`` are seconds."""

    id: int
    name: str
    task: str
    args: str
    kwargs: str
    queue: str
    priority: int | None
    options: str
    kind: str
    expression: str
    every: timedelta | None
    relative: bool
    clocked_at: datetime | None
    solar_event: str
    latitude: float | None
    longitude: float | None
    timezone: str
    start_at: datetime | None
    end_at: datetime | None
    expires: float | None
    jitter: float
    misfire: int
    misfire_limit: int
    overlap: int
    one_off: bool
    next_run_at: datetime | None
    held: bool
    last_task_id: UUID | None


class Run(NamedTuple):
    """What became of one slot."""

    schedule_id: int
    due_at: datetime
    fate: int
    task_id: str | None = None
    note: str = ""


class Step(NamedTuple):
    """Where a schedule stands after its slots were fired; ``error`` is "" if there was none."""

    id: int
    next_run_at: datetime | None
    held_until: datetime | None = None
    enabled: bool = True
    last_run_at: datetime | None = None
    last_task_id: str | None = None
    runs: int = 0
    skipped: int = 0
    error: str = ""


def database_clock(using: str) -> datetime:
    with connections[using].cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def look(connection: BaseDatabaseWrapper, now: datetime | None = None) -> Look:
    """Say whether something is due, in one statement that locks nothing. ``now`` replaces the database's clock."""
    with connection.cursor() as cursor:
        cursor.execute(LOOK, [now])
        return Look(*cursor.fetchone())


def lock_due(connection: BaseDatabaseWrapper, now: datetime, limit: int, *, unset: bool = False) -> list[DueRow]:
    """Lock schedules that are due and that no other beat has, or those without a next slot. In a transaction."""
    return _locked(connection, LOCK_UNSET if unset else LOCK_DUE, {"now": now, "limit": limit})


def lock_one_due(connection: BaseDatabaseWrapper, now: datetime, schedule_id: int) -> list[DueRow]:
    """Lock one schedule if it is still due, or has no next slot, and no other beat has it. In a transaction."""
    return _locked(connection, LOCK_ONE_DUE, {"now": now, "id": schedule_id})


def _locked(connection: BaseDatabaseWrapper, statement: str, values: dict[str, Any]) -> list[DueRow]:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('idle_in_transaction_session_timeout', %s, true)", [LONGEST_TRANSACTION])
        cursor.execute(statement, values)
        return [DueRow(*row) for row in cursor.fetchall()]


def due_ids(connection: BaseDatabaseWrapper, now: datetime, limit: int) -> list[int]:
    """Return the ids of schedules that are due or have no next slot, without locking or reading anything else."""
    with connection.cursor() as cursor:
        cursor.execute(DUE_IDS, {"now": now, "limit": limit})
        return [row[0] for row in cursor.fetchall()]


def put_off(connection: BaseDatabaseWrapper, schedule_id: int, until: datetime, error: str) -> str:
    """Let beats leave a schedule alone for a while, and note why; return its name, "" if it is gone."""
    with connection.cursor() as cursor:
        cursor.execute(PUT_OFF, [until, error, schedule_id])
        row = cursor.fetchone()
        return "" if row is None else str(row[0])


def lock_one(connection: BaseDatabaseWrapper, schedule_id: int) -> DueRow | None:
    """Lock one schedule, whether due or not, waiting for who has it; None if it is gone. In a transaction."""
    with connection.cursor() as cursor:
        cursor.execute(LOCK_ONE, [schedule_id])
        row = cursor.fetchone()
        return None if row is None else DueRow(*row)


def unfinished(connection: BaseDatabaseWrapper, task_ids: Iterable[UUID]) -> set[UUID]:
    """Return those of the tasks that exist and have no result."""
    with connection.cursor() as cursor:
        cursor.execute(UNFINISHED, [list(task_ids)])
        return {row[0] for row in cursor.fetchall()}


def insert_runs(connection: BaseDatabaseWrapper, runs: Sequence[Run]) -> set[tuple[int, datetime]]:
    """Note what became of slots; return those that nobody had noted before."""
    columns = [list(column) for column in zip(*runs, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(INSERT_RUNS, columns)
        return set(cursor.fetchall())


def advance(connection: BaseDatabaseWrapper, steps: Sequence[Step]) -> None:
    """Let schedules go on to their next slots. The caller holds their locks."""
    columns: list[list[Any]] = [list(column) for column in zip(*steps, strict=True)]
    with connection.cursor() as cursor:
        cursor.execute(ADVANCE, columns)


def tell_beats(using: str) -> None:
    """Tell beats once the caller's transaction has committed that schedules changed."""
    connection = connections[using]

    def notify() -> None:
        try:
            connection.connection.execute(NOTIFY, (CHANNEL,))
        except Exception as error:
            # The change is committed; a beat looks at it within half a minute.
            logger.debug("beats were not told: %s", error)

    transaction.on_commit(notify, using=using, robust=True)
