"""Links: the worker's own connections to the database, which come back when the database does."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import psycopg
from django.db import connections
from psycopg import sql

from djqueue import events
from djqueue.conf import settings

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to connect."""
PREPARE_AFTER = 3
"""Times that a statement is sent as text before it is prepared."""

# Also what is no fault of the connection: a standby that is read-only, a role that lost its rights, a migration that is
# under way. Each ends by itself or by an operator's hand, and a worker that gave up would not be there then.
DATABASE_ERRORS = (psycopg.Error, OSError)


def parameters(alias: str, purpose: str) -> dict[str, Any]:
    """Return how to connect with psycopg alone to the database that Django knows by ``alias``."""
    given = connections[alias].get_connection_params()
    for own_to_django in ("cursor_factory", "context", "prepare_threshold"):
        given.pop(own_to_django, None)
    given.setdefault("application_name", f"djqueue {purpose}")
    # A server that vanished without a word must be given up well before the lease ends.
    lease = settings.LEASE
    given.setdefault("connect_timeout", max(2, int(lease / 2)))
    given.setdefault("tcp_user_timeout", int(lease * 1000 / 2))
    given.setdefault("keepalives_idle", max(1, int(lease / 4)))
    given.setdefault("keepalives_interval", max(1, int(lease / 8)))
    given.setdefault("keepalives_count", 2)
    return {**given, "autocommit": True, "prepare_threshold": None}


class Link:
    """One connection that is made when it is needed and made again when it broke."""

    def __init__(self, alias: str, purpose: str) -> None:
        self.purpose = purpose
        self._alias = alias
        self._connection: psycopg.AsyncConnection | None = None
        self._connected_at = 0.0
        self._lost_at: float | None = None
        self._retry_at = 0.0
        self._step = FIRST_PAUSE

    def pause(self) -> float:
        """Return the seconds until it is worth a try to use the link; 0 or less is now."""
        return self._retry_at - monotonic()

    async def connection(self) -> psycopg.AsyncConnection:
        """Return an open connection, after the pause that is due. Raises one of ``DATABASE_ERRORS``."""
        if self._connection is None or self._connection.closed:
            await asyncio.sleep(max(0.0, self.pause()))
            self._connection = await self._connect()
            self._connected_at = monotonic()
        if self._lost_at is not None:
            events.emit(events.DatabaseBack(self.purpose, monotonic() - self._lost_at))
            self._lost_at = None
        return self._connection

    async def _connect(self) -> psycopg.AsyncConnection:
        connection = await psycopg.AsyncConnection.connect(**parameters(self._alias, self.purpose))
        await _prepare_where_safe(connection)
        role = connections[self._alias].settings_dict["OPTIONS"].get("assume_role")
        if role:
            await connection.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(role)))
        return connection

    async def broken(self, error: BaseException) -> None:
        """Note that the link failed; the next call of ``connection`` makes a new one."""
        if self._lost_at is None:
            self._lost_at = monotonic()
            reason = " ".join(str(error).split()) or type(error).__name__
            events.emit(events.DatabaseLost(self.purpose, reason))
        if self._connection is not None and monotonic() - self._connected_at > LONGEST_PAUSE:
            self._step = FIRST_PAUSE
        else:
            # It does not connect, or it connects and then fails at once as with a standby: not in a tight loop.
            self._retry_at = monotonic() + self._step
            self._step = min(LONGEST_PAUSE, self._step * 2)
        await self.close()

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()


async def _prepare_where_safe(connection: psycopg.AsyncConnection) -> None:
    """Let the statements of a direct connection be prepared, which saves a third of the time of a small exchange.

    They would not survive a pooler in transaction mode. A pooler gives its clients process ids of its own making.
    """
    cursor = await connection.execute("SELECT pg_backend_pid()")
    if await cursor.fetchone() == (connection.info.backend_pid,):
        connection.prepare_threshold = PREPARE_AFTER
