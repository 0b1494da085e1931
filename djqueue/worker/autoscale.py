"""Autoscale: more executors while tasks wait in line, fewer when there is nothing for them to do."""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Awaitable, Callable
from time import monotonic

from psycopg import AsyncConnection

from djqueue import events
from djqueue.conf import settings
from djqueue.store.looks import backlog

from .lookout import Lookout
from .memory import share_left
from .pool import PATIENCE, Pool
from .scale import Scale

LOOK_EVERY = 1.0
BACKLOG = 1.0
"""Seconds that the first in line may wait before there are more executors."""
ROOMY, SCARCE = 0.10, 0.05
"""Shares of the memory that must be left for one more executor, and below which there is one less."""
REMEMBERED = 60.0
"""Seconds for which it is remembered how far the line had been drawn; no backlog looks older."""


class Autoscaler:
    """Looks once a second while the scale has bounds."""

    def __init__(
        self,
        name: str,
        scale: Scale,
        pool: Pool,
        lookout: Lookout,
        resized: Callable[[AsyncConnection], Awaitable[object]],
    ) -> None:
        self._name = name
        self._scale = scale
        self._pool = pool
        self._lookout = lookout
        self._resized = resized
        self._drawn: deque[tuple[float, int]] = deque()
        self._busy_at = monotonic()

    async def look(self, connection: AsyncConnection) -> float:
        """Grow or shrink the pool if there is a reason to; return the seconds until the next look."""
        if self._scale.bounds is None or self._pool.stopping:
            return math.inf
        first, last = await backlog(connection, self._lookout.lanes())
        now = monotonic()
        age = self._age(first, last, now)
        if now - self._pool.overflowed_at < 2 * LOOK_EVERY:
            age = max(age, PATIENCE)  # what was given back has a new number
        if any(not place.busy for place in self._pool.crew.places):
            busy = False
        else:
            busy, self._busy_at = True, now
        before = self._scale.size
        size, why = self._wanted(before, age, busy, now)
        if size != before and (size < before or self._pool.crew.room_for >= size - before):
            self._scale.set(size)
            events.emit(events.PoolScaled(self._name, before, size, why))
            await self._resized(connection)
        return LOOK_EVERY

    def _age(self, first: int | None, last: int, now: float) -> float:
        """Return for how long the first in line has been waiting, at least, in seconds.

        Each entry draws a number from a sequence. If that had come as far as the first one's number already at an
        earlier look, it has been in line since then. Unlike the time of enqueueing this is true of retries, of delayed
        and of released tasks.
        """
        while self._drawn and self._drawn[0][0] < now - REMEMBERED:
            self._drawn.popleft()
        self._drawn.append((now, last))
        if first is None:
            return 0.0
        return now - next((when for when, drawn in self._drawn if drawn >= first), now)

    def _wanted(self, size: int, age: float, busy: bool, now: float) -> tuple[int, str]:
        assert self._scale.bounds is not None
        least, most = self._scale.bounds
        left = share_left()
        if left < SCARCE and size > least:
            return size - 1, f"{left:.0%} of the memory is left"
        if busy and age >= BACKLOG and size < most and left >= ROOMY:
            # By half, so that a large pool is there in seconds.
            return min(most, size + max(1, size // 2)), f"the first in line has waited {age:.0f} s"
        idle = now - self._busy_at
        if not busy and age < BACKLOG and idle >= settings.AUTOSCALE_KEEP and size > least:
            return size - 1, f"one had nothing to do for {idle:.0f} s"
        return size, ""
