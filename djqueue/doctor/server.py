"""Checks of PostgreSQL: the right one, reachable, vacuuming, and with nobody in the way."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any
from uuid import uuid4

import psycopg
from django.core import checks
from django.db import Error
from django.db.backends.base.base import BaseDatabaseWrapper

from djqueue.conf import settings
from djqueue.worker.link import parameters

from .finding import Finding
from .schema import made

OLDEST_VERSION = 15
OLD_MINUTES = 5
DEAD_ROWS = 20 * int(made.PARAMETERS["autovacuum_vacuum_threshold"])
"""Autovacuum looks once a minute by default, and a busy minute leaves many times its threshold behind."""
NOTIFY_SECONDS = 2.0
CLOCK_SECONDS = 1.0

DEAD = """
SELECT relname, n_dead_tup, greatest(last_vacuum, last_autovacuum)::timestamptz(0)::text
FROM pg_stat_user_tables
WHERE relid = ANY (%s::regclass[]) AND n_dead_tup > %s
ORDER BY n_dead_tup DESC
"""

# A transaction that has read and written nothing yet holds back no vacuum, nor does one on another
# database.
OLD_SNAPSHOTS = """
SELECT
    pid, application_name, usename, state,
    floor(extract(epoch FROM clock_timestamp() - xact_start) / 60)::int
FROM pg_stat_activity
WHERE datname = current_database() AND pid <> pg_backend_pid()
    AND (backend_xmin IS NOT NULL OR backend_xid IS NOT NULL)
    AND xact_start < clock_timestamp() - make_interval(mins => %s)
ORDER BY xact_start
LIMIT 5
"""

PREPARED = """
SELECT gid, owner::text, floor(extract(epoch FROM clock_timestamp() - prepared) / 60)::int
FROM pg_prepared_xacts
WHERE database = current_database() AND prepared < clock_timestamp() - make_interval(mins => %s)
ORDER BY prepared
LIMIT 5
"""


def system_checks() -> Iterator[Finding]:
    """What ``manage.py check --tag djqueue`` says."""
    messages = checks.run_checks(tags=["djqueue"])
    for message in messages:
        report = Finding.error if message.is_serious() else Finding.warning
        yield report("settings", f"{message.msg} ({message.id}).", message.hint or "")
    if not messages:
        yield Finding.ok("settings", "DJQUEUE is valid.")


def connects(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    if connection.vendor != "postgresql":
        yield Finding.error(
            "connection",
            f"Expected {connection.alias!r} to be PostgreSQL, got: {connection.vendor}.",
            "Name the database that holds the queue with --database or DJQUEUE['DATABASE'].",
        )
        return
    try:
        connection.ensure_connection()
    except Error as error:
        reason = " ".join(str(error).split())
        yield Finding.error(
            "connection",
            f"Cannot connect to {connection.alias!r}: {reason}",
            f"Is the server running, and is DATABASES[{connection.alias!r}] right?",
        )
    else:
        yield Finding.ok("connection", f"Connected to {connection.alias!r}.")


def version(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    number = connection.pg_version  # type: ignore[attr-defined]
    if number < OLDEST_VERSION * 10_000:
        yield Finding.error(
            "version",
            f"Expected PostgreSQL {OLDEST_VERSION} or newer, got: {_shown(number)}.",
            "Upgrade the server.",
        )
    else:
        yield Finding.ok("version", f"PostgreSQL {_shown(number)}.")


def _shown(number: int) -> str:
    return f"{number // 10_000}.{number % 10_000}"


def encoding(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    encoding = _one(connection, "SHOW server_encoding")
    if encoding != "UTF8":
        yield Finding.error(
            "encoding",
            f"Expected the database's encoding to be UTF8, got: {encoding}.",
            "Arguments outside that encoding cannot be stored. Create the database with ENCODING 'UTF8'.",
        )
    else:
        yield Finding.ok("encoding", "UTF8.")


def vacuum(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """The narrow tables are clean enough for claims to be fast."""
    if _one(connection, "SHOW autovacuum") != "on":
        yield Finding.warning(
            "vacuum",
            "Autovacuum is off.",
            "Turn it on: claims slow down with every task that was done since the last vacuum.",
        )
        return
    with connection.cursor() as cursor:
        cursor.execute(DEAD, (list(made.NARROW), DEAD_ROWS))
        dirty = cursor.fetchall()
    for table, dead, last in dirty:
        yield Finding.warning(
            "vacuum",
            f"{table} has {dead:,} dead rows; its last vacuum was {last or 'never'}.",
            "See the checks of snapshots and prepared transactions. If nothing holds vacuum back, are "
            "autovacuum_max_workers busy with other tables?",
        )
    if not dirty:
        yield Finding.ok("vacuum", f"No narrow table has more than {DEAD_ROWS:,} dead rows.")


def snapshots(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """Nobody keeps a transaction open for so long that vacuum cannot clean up."""
    with connection.cursor() as cursor:
        cursor.execute(OLD_SNAPSHOTS, (OLD_MINUTES,))
        old = cursor.fetchall()
    for pid, application, user, state, minutes in old:
        who = f"process {pid} ({application or 'no application name'}, user {user}, {state})"
        yield Finding.warning(
            "snapshots",
            f"A transaction of {who} has been open for {minutes} minutes.",
            f"Vacuum removes nothing newer meanwhile. To end it: SELECT pg_terminate_backend({pid}).",
        )
    if not old:
        yield Finding.ok("snapshots", f"No transaction has been open for {OLD_MINUTES} minutes.")


def prepared_transactions(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    with connection.cursor() as cursor:
        cursor.execute(PREPARED, (OLD_MINUTES,))
        old = cursor.fetchall()
    for gid, owner, minutes in old:
        yield Finding.warning(
            "prepared-transactions",
            f"{gid!r} of {owner} has been prepared for {minutes} minutes.",
            f"It holds locks and stops vacuum. Ask its coordinator, or ROLLBACK PREPARED '{gid}'.",
        )
    if not old:
        yield Finding.ok("prepared-transactions", f"None is older than {OLD_MINUTES} minutes.")


def notify(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """A wake-up arrives on a second connection, made as a worker makes it."""
    if settings.LISTEN is False:
        yield Finding.ok("notify", "Skipped: DJQUEUE['LISTEN'] is False, so that workers only poll.")
        return
    alias = connection.alias if settings.LISTEN is True else settings.LISTEN
    channel, token = "djqueue_doctor", uuid4().hex
    with psycopg.connect(**parameters(alias, "doctor")) as listener:
        listener.execute("LISTEN djqueue_doctor")
        started = time.monotonic()
        _one(connection, "SELECT pg_notify(%s, %s)", channel, token)
        for message in listener.notifies(timeout=NOTIFY_SECONDS):
            if message.payload == token:
                took = (time.monotonic() - started) * 1000
                yield Finding.ok("notify", f"A wake-up took {took:.1f} ms to arrive.")
                return
    yield Finding.warning(
        "notify",
        f"A wake-up did not arrive on {alias!r} within {NOTIFY_SECONDS:g} s.",
        "Workers find tasks by polling, so nothing is lost. Behind a pooler in transaction mode, set "
        "DJQUEUE['LISTEN'] to the alias of a direct connection, or to False.",
    )


def clock(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """The clocks of this machine and of the database agree."""
    before = time.time()
    there = float(_one(connection, "SELECT extract(epoch FROM clock_timestamp())"))
    ahead = (before + time.time()) / 2 - there
    if abs(ahead) > CLOCK_SECONDS:
        direction = "ahead of" if ahead > 0 else "behind"
        yield Finding.warning(
            "clock",
            f"This machine's clock is {abs(ahead):.1f} s {direction} the database's.",
            "The database's counts: an eta computed here comes that much off. Synchronise both.",
        )
    else:
        yield Finding.ok("clock", f"{abs(ahead) * 1000:.0f} ms between this machine and the database.")


def _one(connection: BaseDatabaseWrapper, query: str, *values: Any) -> Any:
    with connection.cursor() as cursor:
        cursor.execute(query, values or None)
        return cursor.fetchone()[0]
