"""Commands: ask workers, take what one is asked, answer, and read the answers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from djqueue.serializers import decode

KEPT = 300.0
"""Seconds for which commands that have expired are kept, to be looked at."""

WORKERS = """
SELECT id, name, extract(epoch FROM statement_timestamp() - lease_until)::double precision
FROM djqueue_worker ORDER BY name, id
"""

# Each worker is asked by a row of its own, so who has not answered is a query, and each obeys once.
ASK = """
WITH command AS (
    INSERT INTO djqueue_workercommand (name, arguments, asked_at, expires_at)
    VALUES (%s, %s, statement_timestamp(), statement_timestamp() + make_interval(secs => %s))
    RETURNING id
),
asked AS (
    INSERT INTO djqueue_commandreply (command_id, worker_id, worker)
    SELECT command.id, given.id, given.name
    FROM command CROSS JOIN unnest(%s::bigint[], %s::text[]) AS given (id, name)
)
SELECT id FROM command
"""

READ = """
SELECT reply.worker_id, reply.worker, reply.answered_at IS NOT NULL, reply.value::text, reply.error,
    coalesce(worker.lease_until > statement_timestamp(), false)
FROM djqueue_commandreply AS reply
LEFT JOIN djqueue_worker AS worker ON worker.id = reply.worker_id
WHERE reply.command_id = %s
ORDER BY reply.worker, reply.worker_id
"""

# Commands are looked up one by one: a join may read all that are kept.
TAKE = """
WITH taken AS (
    UPDATE djqueue_commandreply SET taken_at = clock_timestamp()
    WHERE worker_id = %s AND taken_at IS NULL
    RETURNING command_id
)
SELECT command.id, command.name, command.arguments::text,
    extract(epoch FROM command.expires_at - clock_timestamp())::double precision
FROM taken
CROSS JOIN LATERAL (SELECT * FROM djqueue_workercommand WHERE id = taken.command_id LIMIT 1) AS command
"""

SITE_COMMAND = """
SELECT command.name, command.arguments::text,
    extract(epoch FROM command.expires_at - clock_timestamp())::double precision,
    worker.name, worker.pid, worker.queues, worker.pool, worker.processes, worker.concurrency
FROM djqueue_workercommand AS command
JOIN djqueue_worker AS worker ON worker.id = %s
WHERE command.id = %s
"""

ANSWER = """
UPDATE djqueue_commandreply
SET answered_at = clock_timestamp(), value = %s, error = %s
WHERE command_id = %s AND worker_id = %s AND answered_at IS NULL
"""

FORGET = """
WITH old AS MATERIALIZED (
    SELECT id FROM djqueue_workercommand WHERE expires_at < statement_timestamp() - make_interval(secs => %s)
),
replies AS (
    DELETE FROM djqueue_commandreply WHERE command_id = ANY (ARRAY(SELECT id FROM old))
)
DELETE FROM djqueue_workercommand WHERE id = ANY (ARRAY(SELECT id FROM old))
"""


class KnownWorker(NamedTuple):
    """A worker's row; ``overdue`` are the seconds since its lease ran out, negative while it lives."""

    id: int
    name: str
    overdue: float


class Reply(NamedTuple):
    """What became of a command at one worker; ``value`` is JSON text."""

    worker_id: int
    worker: str
    answered: bool
    value: str | None
    error: str | None
    alive: bool


class Order(NamedTuple):
    """A command that a worker has taken; ``left`` are the seconds until it expires."""

    command_id: int
    name: str
    arguments: dict[str, Any]
    left: float


class SiteCommand(NamedTuple):
    """A command and the worker that is asked."""

    name: str
    arguments: dict[str, Any]
    left: float
    worker: str
    pid: int
    queues: str
    pool: str
    processes: int
    concurrency: int


def known_workers(cursor: CursorWrapper) -> list[KnownWorker]:
    """Return every worker that has a row, by name."""
    cursor.execute(WORKERS)
    return [KnownWorker._make(row) for row in cursor.fetchall()]


def ask(cursor: CursorWrapper, name: str, arguments: str, lifetime: float, workers: Iterable[KnownWorker]) -> int:
    """Write a command (``arguments`` is JSON text) to these workers, who may obey for ``lifetime`` seconds; return its
    id."""
    asked = list(workers)
    cursor.execute(ASK, (name, arguments, lifetime, [worker.id for worker in asked], [worker.name for worker in asked]))
    return int(cursor.fetchone()[0])


def read_replies(cursor: CursorWrapper, command_id: int) -> list[Reply]:
    """Return what became of a command so far, one entry for each worker that was asked."""
    cursor.execute(READ, (command_id,))
    return [Reply._make(row) for row in cursor.fetchall()]


def read_site_command(cursor: CursorWrapper, command_id: int, worker_id: int) -> SiteCommand | None:
    """Return a command that a worker has taken, and that worker; None if one of them is gone."""
    cursor.execute(SITE_COMMAND, (worker_id, command_id))
    row = cursor.fetchone()
    return None if row is None else SiteCommand(row[0], decode(row[1]), *row[2:])


def answer_from_site(
    cursor: CursorWrapper, command_id: int, worker_id: int, value: str | None, error: str | None
) -> None:
    """Store an answer, as ``answer`` does, on a connection of Django's."""
    cursor.execute(ANSWER, (value, error, command_id, worker_id))


async def take(connection: AsyncConnection, worker_id: int) -> list[Order]:
    """Return what a worker is asked and has not taken yet, the oldest first. Nobody else gets it again."""
    rows: Sequence[Any] = await (await connection.execute(TAKE, (worker_id,))).fetchall()
    return [Order(row[0], row[1], decode(row[2]), row[3]) for row in sorted(rows)]


async def answer(
    connection: AsyncConnection, command_id: int, worker_id: int, value: str | None, error: str | None
) -> None:
    """Store a worker's answer: a value (JSON text) or an error. A second one changes nothing."""
    await connection.execute(ANSWER, (value, error, command_id, worker_id))


async def forget_commands(connection: AsyncConnection, keep: float = KEPT) -> None:
    """Delete commands that expired longer than ``keep`` seconds ago."""
    await connection.execute(FORGET, (keep,))
