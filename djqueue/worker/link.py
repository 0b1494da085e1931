"""Links: the worker's own connections to the database, which come back when the database does."""

from __future__ import annotations

import asyncio
from time import monotonic
from typing import Any

import psycopg
from django.db import connections

from djqueue import events

FIRST_PAUSE = 0.1
LONGEST_PAUSE = 5.0
"""Seconds between two attempts to connect."""

# A server that is read-only is a standby, or one on its way to become the primary.
CONNECTION_ERRORS = (
    psycopg.OperationalError,
    psycopg.InterfaceError,
    psycopg.errors.ReadOnlySqlTransaction,
    OSError,
)


def parameters(alias: str, purpose: str) -> dict[str, Any]:
    """Return how to connect with psycopg alone to the database that Django knows by ``alias``."""
    given = connections[alias].get_connection_params()
    for own_to_django in ("cursor_factory", "context", "prepare_threshold"):
        given.pop(own_to_django, None)
    given.setdefault("application_name", f"djqueue {purpose}")
    # Functions keep their plans; prepared statements would not survive a pooler in transaction mode.
    return {**given, "autocommit": True, "prepare_threshold": None}


class Link:
    """One connection that is made when it is needed and made again when it broke."""

    def __init__(self, alias: str, purpose: str) -> None:
        self.purpose = purpose
        self._alias = alias
        self._connection: psycopg.AsyncConnection | None = None
        self._connected_at = 0.0
        self._lost_at: float | None = None
        self._pause = FIRST_PAUSE

    async def connection(self) -> psycopg.AsyncConnection:
        """Return an open connection, waiting for the database for as long as it takes."""
        pause = FIRST_PAUSE
        while self._connection is None or self._connection.closed:
            try:
                self._connection = await psycopg.AsyncConnection.connect(**parameters(self._alias, self.purpose))
                self._connected_at = monotonic()
            except CONNECTION_ERRORS as error:
                self._lose(error)
                await asyncio.sleep(pause)
                pause = min(LONGEST_PAUSE, pause * 2)
        if self._lost_at is not None:
            events.emit(events.DatabaseBack(self.purpose, monotonic() - self._lost_at))
            self._lost_at = None
        return self._connection

    async def broken(self, error: BaseException) -> None:
        """Note that the connection failed; the next call of ``connection`` makes a new one."""
        self._lose(error)
        await self.close()
        if monotonic() - self._connected_at > LONGEST_PAUSE:
            self._pause = FIRST_PAUSE
            return
        # It connects and then fails at once, as with a standby or a full disk: not in a tight loop.
        await asyncio.sleep(self._pause)
        self._pause = min(LONGEST_PAUSE, self._pause * 2)

    def _lose(self, error: BaseException) -> None:
        if self._lost_at is None:
            self._lost_at = monotonic()
            reason = " ".join(str(error).split()) or type(error).__name__
            events.emit(events.DatabaseLost(self.purpose, reason))

    async def close(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            await connection.close()
