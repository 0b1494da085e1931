"""The worker's loop: claims what can start, settles what has ended, and nothing else touches the queue."""

from __future__ import annotations

import asyncio
from time import monotonic

import psycopg
from psycopg import AsyncConnection

from djqueue import events
from djqueue.records import Claim, Outcome
from djqueue.store.pace import pace
from djqueue.store.pauses import put_off
from djqueue.store.progress import note_states
from djqueue.store.promote import promote
from djqueue.store.release import held_by, release
from djqueue.store.repair import repair

from .clock import DatabaseClock
from .endings import timed
from .limits import Limits
from .link import DATABASE_ERRORS, Link
from .lookout import Lookout
from .options import WorkerOptions
from .pool import Pool
from .settling import Settler

GATHER = 0.01
"""Longest time in seconds that an outcome waits for others to be settled with."""
PROGRESS_EVERY = 0.05
"""Seconds between two writings of what running tasks show."""
RECOUNT = 60.0
"""Seconds between two comparisons of the leases in the database with what is held here."""
FIRST_RECOUNT = 2.0
"""Seconds between the first two: the server may still be at work for a connection that was lost."""


class ClaimLoop:
    """Moves tasks between the queue and the pool until it is told to drain and nothing is left."""

    def __init__(self, options: WorkerOptions, link: Link, clock: DatabaseClock, lookout: Lookout) -> None:
        self.worker_id = 0
        self.lease_until = 0.0
        self.draining = self.quiet = False
        self.pool: Pool
        self.limits = Limits(options.pool)
        self.settler = Settler(options.name, clock)
        self._options = options
        self._link = link
        self._clock = clock
        self._lookout = lookout
        self._turn = asyncio.Event()
        self._next_recount = 0.0
        self._recount_pause = FIRST_RECOUNT
        self._given_up = False
        self._was_empty = False
        self._contradicted = False
        self._progress: dict[str, tuple[str, int, str, str | None]] = {}
        self._progress_since = 0.0

    def outcomes(self, ended: list[Outcome]) -> None:
        """Take outcomes from the pool, to be settled soon."""
        self.settler.add(ended)
        self._turn.set()

    def progressed(self, states: list[tuple[str, int, str, str | None]]) -> None:
        """Take what running tasks show of themselves; the latest of each is written soon."""
        if not self._progress:
            self._progress_since = monotonic()
        self._progress.update((state[0], state) for state in states)
        self._turn.set()

    def wake(self) -> None:
        """Look at the queue now."""
        self._lookout.wake()
        self._turn.set()

    def notified(self, queue: str) -> None:
        self._lookout.notified(queue)
        self._turn.set()

    def abandon(self) -> None:
        """Forget everything held: the lease was lost, and others have it now."""
        self.pool.abandon()
        self.settler.forget()
        self._turn.set()

    def drain(self) -> None:
        """Claim nothing more; ``run`` returns when everything held is settled."""
        self.draining = True
        self.pool.drain()
        self._turn.set()

    def give_up(self) -> None:
        """Let ``run`` return with tasks still held."""
        self._given_up = True
        self._turn.set()

    @property
    def settled(self) -> int:
        return sum(self.settler.counts)

    async def run(self) -> None:
        while not self._given_up and not (self.draining and not self.settler.unfinished):
            pause = max(self._pause(), self._link.pause())
            if pause > 0:
                await self._rest(pause)
                continue
            try:
                await self._round(await self._link.connection())
            except DATABASE_ERRORS as error:
                self._contradicted = isinstance(error, psycopg.IntegrityError)
                await self._link.broken(error)
                self._next_recount, self._recount_pause = 0.0, FIRST_RECOUNT
                self._lookout.restart()

    async def _rest(self, pause: float) -> None:
        timer = asyncio.get_running_loop().call_later(pause, self._turn.set)
        await self._turn.wait()
        timer.cancel()
        self._turn.clear()

    def _pause(self) -> float:
        """Return the seconds until there is something to do: settle, or look for tasks that could start."""
        now = monotonic()
        pauses = [1.0]
        if self._progress:
            pauses.append(self._progress_since + PROGRESS_EVERY - now)
        if self.settler.outbox:
            full = self.settler.full or self.pool.held == 0
            pauses.append(0.0 if full else self.settler.outbox_since + GATHER - now)
        if (wanted := self._wanted(now)) and (self.pool.starving or wanted * 2 >= self.pool.prefetch):
            pauses.append(self._lookout.until_look(now))
        return min(pauses)

    def _wanted(self, now: float) -> int:
        # What is claimed under a lease that has run out may soon be running elsewhere.
        return 0 if self.draining or self.quiet or now >= self.lease_until else self.pool.wanted()

    async def _round(self, connection: AsyncConnection) -> None:
        if self._contradicted:
            events.emit(events.Repaired(await repair(connection)))
            self._contradicted = False
        if monotonic() >= self._next_recount:
            await self._recount(connection)
        if self._progress:
            shown, self._progress = self._progress, {}
            await note_states(connection, self.worker_id, list(shown.values()))
        wanted = self._wanted(monotonic())
        if wanted:
            await self._lookout.survey(connection)
        lanes = self._lookout.lanes() if wanted else []
        batch = self.settler.take_batch()
        worker_id = self.worker_id
        try:
            found = await self.settler.trade(connection, worker_id, batch, lanes, wanted if lanes else 0)
        except DATABASE_ERRORS:
            if worker_id == self.worker_id:
                self.settler.outbox[:0] = batch
            raise
        if worker_id != self.worker_id:
            return  # the lease was lost meanwhile: what was claimed under the old id is reclaimed
        if self.settler.put_back:
            self._lookout.wake()
        if found:
            await self._hold(connection, found)
        if wanted:
            if found.parked:
                self._lookout.parked(found.parked)
            # Where tasks were parked there may be more behind them.
            number = wanted if found.parked else len(found)
            self._lookout.found(number, wanted)
            self._options.queues.claimed(found, full=number >= wanted)
            await self._lookout.raise_floors(connection)
            if self._options.burst and not found and not self.settler.unfinished:
                await self._end_burst(connection)
            else:
                self._was_empty = False

    async def _hold(self, connection: AsyncConnection, claims: list[Claim]) -> None:
        """Give claims to the pool, but for those that are paused."""
        self._clock.sync(claims[-1].claimed)
        if self._lookout.pauses.puts_off:
            claims = await self._without_paused(connection, claims)
        if self.limits:
            claims = [self.limits.apply(claim) for claim in claims]
        self.settler.held.update((c.id, c) for c in claims)
        self.pool.add(c if c.context is None else timed(c, self._clock) for c in claims)

    async def _without_paused(self, connection: AsyncConnection, claims: list[Claim]) -> list[Claim]:
        """Put off what is paused by name or key, and return the rest."""
        if not (resting := self._lookout.pauses.resting(claims)):
            return claims
        await put_off(connection, self.worker_id, resting)
        put = {task_id for task_id, _, _ in resting}
        return [claim for claim in claims if claim.id not in put]

    async def _recount(self, connection: AsyncConnection) -> None:
        """Give back leases that this worker does not know of: claims whose answer was lost with a connection."""
        self._next_recount = monotonic() + self._recount_pause
        self._recount_pause = min(RECOUNT, self._recount_pause * 5)
        unknown = [
            Outcome.released(task_id, attempt)
            for task_id, attempt in await held_by(connection, self.worker_id)
            if task_id not in self.settler.held
        ]
        if unknown:
            await release(connection, self.worker_id, unknown)

    async def _end_burst(self, connection: AsyncConnection) -> None:
        """Stop if the queues are really empty: no lane unknown, nothing due, nothing held back by a rate limit."""
        promoted, _ = await promote(connection)
        paced, next_in = await pace(connection)
        empty = not promoted and not paced and next_in is None
        empty = empty and not await self._lookout.survey(connection, force=True)
        if empty and self._was_empty:
            self.drain()
        else:
            # What upkeep put in line between the last claim and this look is found by another claim.
            self._was_empty = empty
            self.wake()
