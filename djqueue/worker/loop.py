"""The worker's loop: claims what can start, settles what has ended, and nothing else touches the queue."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

import psycopg
from psycopg import AsyncConnection

from djqueue import events
from djqueue.conf import settings
from djqueue.records import Claim, Lane, Outcome
from djqueue.states import Ending
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.exchange import exchange
from djqueue.store.grow import grow
from djqueue.store.lose import lose
from djqueue.store.progress import note_states
from djqueue.store.promote import promote
from djqueue.store.release import held_by, release
from djqueue.store.repair import repair
from djqueue.store.retry import retry
from djqueue.store.settle import settle
from djqueue.store.workers import Counts

from .clock import DatabaseClock
from .endings import refused, void
from .link import DATABASE_ERRORS, Link
from .lookout import Lookout
from .options import WorkerOptions
from .pool import Pool

GATHER = 0.01
"""Longest time in seconds that an outcome waits for others to be settled with."""
PROGRESS_EVERY = 0.05
"""Seconds between two writings of what running tasks show."""
SETTLE_MOST = 500
"""Outcomes in a batch."""
SETTLE_BYTES = 4 * 1024 * 1024
"""Size of the values in a batch above which it is cut."""
RECOUNT = 60.0
"""Seconds between two comparisons of the leases in the database with what is held here."""
FIRST_RECOUNT = 2.0
"""Seconds between the first two: the server may still be at work for a connection that was lost."""
REFUSALS = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)
"""What PostgreSQL says of a value that it cannot hold."""
FINISHING = (Ending.SUCCEEDED, Ending.FAILED, Ending.CANCELLED, Ending.FORGOTTEN)


class ClaimLoop:
    """Moves tasks between the queue and the pool until it is told to drain and nothing is left."""

    def __init__(self, options: WorkerOptions, link: Link, clock: DatabaseClock, lookout: Lookout) -> None:
        self.worker_id = 0
        self.lease_until = 0.0
        self.counts = Counts()
        self.draining = False
        self.pool: Pool
        self.held: dict[str, Claim] = {}
        self._options = options
        self._link = link
        self._clock = clock
        self._lookout = lookout
        self._outbox: list[Outcome] = []
        self._outbox_since = 0.0
        self._turn = asyncio.Event()
        self._next_recount = 0.0
        self._recount_pause = FIRST_RECOUNT
        self._given_up = False
        self._contradicted = False
        self._progress: dict[str, tuple[str, int, str, str | None]] = {}
        self._progress_since = 0.0

    def outcomes(self, ended: list[Outcome]) -> None:
        """Take outcomes from the pool, to be settled soon."""
        if not self._outbox:
            self._outbox_since = monotonic()
        self._outbox += ended
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
        self.held.clear()
        self._outbox.clear()
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
        return self.counts.succeeded + self.counts.failed + self.counts.lost

    async def run(self) -> None:
        while not self._given_up and not (self.draining and not self.held and not self._outbox):
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
        if self._outbox:
            full = len(self._outbox) >= SETTLE_MOST or self.pool.held == 0
            pauses.append(0.0 if full else self._outbox_since + GATHER - now)
        if (wanted := self._wanted(now)) and (self.pool.starving or wanted * 2 >= self.pool.prefetch):
            pauses.append(self._lookout.until_look(now))
        return min(pauses)

    def _wanted(self, now: float) -> int:
        # What is claimed under a lease that has run out may soon be running elsewhere.
        return 0 if self.draining or now >= self.lease_until else self.pool.wanted()

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
        batch = self._take_batch()
        worker_id = self.worker_id
        try:
            claims = await self._trade(connection, batch, lanes, wanted if lanes else 0)
        except DATABASE_ERRORS:
            if worker_id == self.worker_id:
                self._outbox[:0] = batch
            raise
        if worker_id != self.worker_id:
            return  # the lease was lost meanwhile: what was claimed under the old id is reclaimed
        if claims:
            self._clock.sync(claims[-1].claimed)
            self.held.update((c.id, c) for c in claims)
            if voided := [outcome for c in claims if (outcome := void(c)) is not None]:
                self.outcomes(voided)
                ids = {outcome.id for outcome in voided}
                claims = [c for c in claims if c.id not in ids]
            self.pool.add(claims)
        if wanted:
            self._lookout.found(len(claims), wanted)
            await self._lookout.raise_floors(connection)
            if self._options.burst and not claims and not self.held and not self._outbox:
                await self._end_burst(connection)

    def _take_batch(self) -> list[Outcome]:
        size = count = 0
        for outcome in self._outbox[:SETTLE_MOST]:
            size += len(outcome.value or "") + len(outcome.error or "")
            count += 1
            if size > SETTLE_BYTES:
                break
        batch, self._outbox = self._outbox[:count], self._outbox[count:]
        return batch

    async def _trade(
        self, connection: AsyncConnection, batch: Sequence[Outcome], lanes: Sequence[Lane], wanted: int
    ) -> list[Claim]:
        """Settle a batch and claim; in the usual case with one statement."""
        finished = [self._dated(o) for o in batch if o.ending in FINISHING and o.grown is None]
        if len(finished) < len(batch):
            await self._put_back(connection, batch)
        if not finished:
            return await claim(connection, self.worker_id, lanes, wanted) if wanted else []
        who, joined = (self.worker_id, self._options.name), self._in_workflow(finished)
        try:
            if wanted:
                settled, claims = await exchange(connection, *who, finished, lanes, wanted, concluding=joined)
            else:
                settled, claims = await (conclude if joined else settle)(connection, *who, finished), []
        except REFUSALS:
            settled = await self._settle_one_by_one(connection, finished)
            claims = await claim(connection, self.worker_id, lanes, wanted) if wanted else []
        self._note(finished, settled)
        return claims

    def _dated(self, outcome: Outcome) -> Outcome:
        started = None if outcome.started is None else self._clock.epoch(outcome.started)
        return outcome._replace(started=started, finished=self._clock.epoch(outcome.finished))

    def _in_workflow(self, outcomes: Sequence[Outcome]) -> bool:
        return any(claim.in_workflow for o in outcomes if (claim := self.held.get(o.id)) is not None)

    async def _settle_one_by_one(self, connection: AsyncConnection, outcomes: list[Outcome]) -> set[str]:
        """Settle a batch of which PostgreSQL refused a value: that one fails, the others are stored."""
        settled: set[str] = set()
        for place, outcome in enumerate(outcomes):
            try:
                settled |= await conclude(connection, self.worker_id, self._options.name, [outcome])
            except REFUSALS as error:
                outcomes[place] = outcome = refused(outcome, error)
                with suppress(*REFUSALS):
                    settled |= await conclude(connection, self.worker_id, self._options.name, [outcome])
        return settled

    async def _put_back(self, connection: AsyncConnection, batch: Sequence[Outcome]) -> None:
        released = [o for o in batch if o.ending == Ending.RELEASED]
        lost = [o for o in batch if o.ending == Ending.LOST]
        if released:
            self._note(released, await release(connection, self.worker_id, released))
        if retried := [self._dated(o) for o in batch if o.ending == Ending.RETRIED]:
            self._note(retried, await retry(connection, self.worker_id, self._options.name, retried))
        if grown := [self._dated(o) for o in batch if o.grown is not None]:
            self._note(grown, await grow(connection, self.worker_id, self._options.name, grown))
        if lost:
            dated = [self._dated(o) for o in lost]
            fate = await lose(connection, self.worker_id, self._options.name, dated, settings.CRASH_LIMIT)
            self._note([o._replace(ending=Ending.FAILED) if fate.get(o.id) else o for o in dated], set(fate))
        if retried or grown or lost:
            self._lookout.wake()

    def _note(self, outcomes: Sequence[Outcome], settled: set[str]) -> None:
        pairs = []
        dropped = []
        for outcome in outcomes:
            claim = self.held.pop(outcome.id, None)
            if outcome.id not in settled:
                dropped.append(outcome.id)
            elif claim is not None:
                pairs.append((claim, outcome))
        endings = [outcome.ending for _, outcome in pairs]
        failed, lost = endings.count(Ending.FAILED), endings.count(Ending.LOST)
        succeeded = endings.count(Ending.SUCCEEDED) + endings.count(Ending.FORGOTTEN)
        counts = self.counts
        self.counts = Counts(0, counts.succeeded + succeeded, counts.failed + failed, counts.lost + lost)
        if pairs:
            events.emit(events.TasksSettled(pairs))
        if dropped:
            events.emit(events.OutcomesDropped(dropped))

    async def _recount(self, connection: AsyncConnection) -> None:
        """Give back leases that this worker does not know of: claims whose answer was lost with a connection."""
        self._next_recount = monotonic() + self._recount_pause
        self._recount_pause = min(RECOUNT, self._recount_pause * 5)
        unknown = [
            Outcome.released(task_id, attempt)
            for task_id, attempt in await held_by(connection, self.worker_id)
            if task_id not in self.held
        ]
        if unknown:
            await release(connection, self.worker_id, unknown)

    async def _end_burst(self, connection: AsyncConnection) -> None:
        """Stop if the queues are really empty: no lane unknown, nothing due."""
        promoted, _ = await promote(connection)
        if not promoted and not await self._lookout.survey(connection, force=True):
            self.drain()
        else:
            self.wake()
