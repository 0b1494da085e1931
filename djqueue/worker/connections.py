"""Database connections of tasks: what is done about them before and after each attempt, in the thread that ran it."""

from __future__ import annotations

import select
from time import monotonic
from typing import Any

from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.signals import connection_created
from django.dispatch import receiver
from psycopg.pq import TransactionStatus

IDLE = TransactionStatus.IDLE

_used = any(connection.connection is not None for connection in connections.all(initialized_only=True))
"""Whether this process has connected to a database. Until then tasks pay nothing for it."""


@receiver(connection_created, dispatch_uid="djqueue.worker.connections")
def _connected(**_: Any) -> None:
    global _used
    _used = True


def drop_dead_connections() -> None:
    """Close connections that the server ended while they were idle: the next task is not to find out."""
    if not _used:
        return
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or connection.vendor != "postgresql":
            continue
        poll = select.poll()
        poll.register(connection.connection.fileno(), select.POLLIN)
        # Nothing is said on an idle connection, unless its end.
        if poll.poll(0) and not connection.is_usable():
            connection.close()


def clean_connections() -> None:
    """Leave no transaction, no broken connection and no query log to the next task.

    Unlike between requests of a site, ``CONN_MAX_AGE = 0`` does not close a connection that works: the executor does
    when it has been idle for a while. Connecting anew for each task would cost more than most tasks.
    """
    if not _used:
        return
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        if _in_transaction(connection):
            # The task left it open; closing rolls it back.
            connection.in_atomic_block = False
            connection.savepoint_ids = []
            connection.needs_rollback = False
            connection.close()
        elif connection.errors_occurred or _expired(connection):
            connection.close_if_unusable_or_obsolete()
        connection.health_check_done = False  # type: ignore[attr-defined]
        connection.queries_log.clear()


def _in_transaction(connection: BaseDatabaseWrapper) -> bool:
    if connection.in_atomic_block or not connection.autocommit:
        return True
    # A BEGIN of the task's own, which Django does not know of.
    return connection.vendor == "postgresql" and connection.connection.pgconn.transaction_status != IDLE


def _expired(connection: BaseDatabaseWrapper) -> bool:
    max_age = connection.settings_dict["CONN_MAX_AGE"]
    return bool(max_age) and connection.close_at is not None and monotonic() >= connection.close_at
