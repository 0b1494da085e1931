"""Pauses as a worker knows them: until when which queues, tasks and keys rest."""

from __future__ import annotations

import math
from collections.abc import Iterable
from time import monotonic

from psycopg import AsyncConnection

from djqueue.conf import settings
from djqueue.records import Claim
from djqueue.serializers import decode
from djqueue.states import PauseKind
from djqueue.store.pauses import PauseLeft, bring_forward, read_pauses

KEYS = ("rate_key", "unique_key")
"""Options of a task that are keys which can be paused."""
GATE = "gate"
"""The option that is a kind of gate and, after a space, the key of a concurrency limit."""

SWEEP_EVERY = 1.0
"""Seconds between two passes over what was put off."""
SWEEP_ON = 0.02
"""Seconds between two steps of a pass, in which a heartbeat may go before."""


class Pauses:
    """What is paused, read now and then; each ends here by itself."""

    def __init__(self) -> None:
        self.known = False
        self.puts_off = False
        """Whether tasks are paused by name or key."""
        self._queues: dict[str, float] = {}
        self._tasks: dict[str, PauseLeft] = {}
        self._keys: dict[str, PauseLeft] = {}
        self._read_at = 0.0
        self._last: set[tuple[str, ...]] = set()
        # Also what has ended while no worker was there.
        self._sweep_until = monotonic() + settings.LEASE
        self._after: tuple[str, str] | None = None

    async def read(self, connection: AsyncConnection) -> bool:
        """Learn what is paused now; return whether that is news."""
        rows = await read_pauses(connection)
        news = {row[:3] for row in rows} != self._last
        self._last = {row[:3] for row in rows}
        self._read_at = now = monotonic()
        self._queues = {row.name: now + row.left for row in rows if row.kind == "queue"}
        self._tasks = {row.name: row for row in rows if row.kind == PauseKind.TASK}
        self._keys = {row.name: row for row in rows if row.kind == PauseKind.KEY}
        self.puts_off = bool(self._tasks or self._keys)
        self.known = True
        if news:
            self._sweep_until = now + settings.LEASE
        return news

    async def sweep(self, connection: AsyncConnection) -> float:
        """Bring forward what an ended or shorter pause has put off; return the seconds until there is more to do."""
        if monotonic() > self._sweep_until and self._after is None:
            return math.inf
        self._after = await bring_forward(connection, self._after)
        return SWEEP_EVERY if self._after is None else SWEEP_ON

    @property
    def shown(self) -> dict[str, list[str]]:
        """What is paused, as far as is known here."""
        return {"queues": sorted(self.queues()), "tasks": sorted(self._tasks), "keys": sorted(self._keys)}

    def queues(self) -> set[str]:
        """Return the queues that rest now."""
        now = monotonic()
        return {name for name, until in self._queues.items() if until > now}

    def next_end(self) -> float:
        """Return the monotonic time at which the next queue goes on by itself; infinitely late if none does."""
        now = monotonic()
        return min((until for until in self._queues.values() if until > now), default=float("inf"))

    def resting(self, claims: Iterable[Claim]) -> list[tuple[str, int, str]]:
        """Return those of the claims that may not start now: id, attempt, and until when."""
        since = monotonic() - self._read_at
        found = []
        for claim in claims:
            pauses = [pause for pause in self._pauses_of(claim) if pause.left > since]
            if pauses:
                found.append((claim.id, claim.attempt, max(pauses, key=lambda pause: pause.left).until))
        return found

    def _pauses_of(self, claim: Claim) -> list[PauseLeft]:
        pauses = [self._tasks[claim.name]] if claim.name in self._tasks else []
        if self._keys and claim.options:
            options = decode(claim.options)
            keys = {options.get(name) for name in KEYS} | {str(options.get(GATE)).partition(" ")[2]}
            pauses += [pause for key, pause in self._keys.items() if key in keys]
        return pauses
