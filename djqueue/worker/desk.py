"""The desk: takes the commands that a worker is sent, has them obeyed, and stores the answers."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable
from typing import NamedTuple

from psycopg import AsyncConnection

from djqueue import events
from djqueue.control.catalogue import find
from djqueue.store.commands import Order, answer, take

from .commands import Commands
from .link import DATABASE_ERRORS
from .site_commands import stored

logger = logging.getLogger("djqueue.worker")

LOOK_EVERY = 1.0
"""Seconds between two looks where wake-ups do not arrive."""


class Answer(NamedTuple):
    """An answer, kept until it is stored."""

    command_id: int
    worker_id: int
    value: str | None
    error: str | None


class Desk:
    """Obeys each command once. What the site has added runs elsewhere, see ``site_commands``."""

    def __init__(
        self, commands: Commands, to_the_site: Callable[[int, int], None], listening: Callable[[], bool]
    ) -> None:
        self.worker_id = 0
        self._commands = commands
        self._to_the_site = to_the_site
        self._listening = listening
        self._answers: list[Answer] = []

    async def describe(self, connection: AsyncConnection) -> None:
        """Write into the worker's row, which may be a new one, what commands have changed of it."""
        await self._commands.resized(connection)

    async def look(self, connection: AsyncConnection) -> float:
        """Obey what has come; return the seconds until the next look."""
        await self._store_answers(connection)
        worker_id = self.worker_id
        for order in await take(connection, worker_id):
            if order.left <= 0:
                continue  # whoever asked has been told that it was not answered
            events.emit(events.CommandTaken(order.name, order.arguments))
            await self._obey(connection, order, worker_id)
            await self._store_answers(connection)
            self._commands.afterwards()
        return math.inf if self._listening() else LOOK_EVERY

    async def _obey(self, connection: AsyncConnection, order: Order, worker_id: int) -> None:
        try:
            known = find(order.name)
        except LookupError:
            known = None  # the site may know it
        if known is None or known.function is not None:
            self._to_the_site(order.command_id, worker_id)
            return
        try:
            value = await self._commands.obey(connection, known, order.arguments)
            self._answers.append(Answer(order.command_id, worker_id, stored(order.name, value), None))
        except DATABASE_ERRORS:
            raise
        except ValueError as error:
            self._answers.append(Answer(order.command_id, worker_id, None, str(error)))
        except Exception as error:
            # No command may cost the tasks that run here.
            logger.exception("command %s failed", order.name)
            self._answers.append(Answer(order.command_id, worker_id, None, f"{type(error).__name__}: {error}"))

    async def _store_answers(self, connection: AsyncConnection) -> None:
        while self._answers:
            await answer(connection, *self._answers[0])
            self._answers.pop(0)
