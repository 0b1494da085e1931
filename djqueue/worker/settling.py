"""Settling: write how attempts ended, and claim with the same statement where that is possible."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress
from time import monotonic
from typing import Any

import psycopg
from psycopg import AsyncConnection

from djqueue import events
from djqueue.conf import settings
from djqueue.records import Claim, Claims, Lane, Outcome
from djqueue.states import BACK_IN_LINE, Ending
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.exchange import exchange
from djqueue.store.grow import grow
from djqueue.store.lose import lose
from djqueue.store.release import release
from djqueue.store.retry import retry
from djqueue.store.settle import settle
from djqueue.store.workers import Counts

from .clock import DatabaseClock
from .endings import interrupted, refused
from .tally import Tally

SETTLE_MOST = 500
"""Outcomes in a batch."""
SETTLE_BYTES = 4 * 1024 * 1024
"""Size of the values in a batch above which it is cut."""
REFUSALS = (psycopg.DataError, psycopg.errors.ProgramLimitExceeded, psycopg.errors.StatementTooComplex)
"""What PostgreSQL says of a value that it cannot hold."""
FINISHING = (Ending.SUCCEEDED, Ending.FAILED, Ending.CANCELLED, Ending.FORGOTTEN)


class Settler:
    """Keeps what this worker holds and what has ended of it but is not written yet."""

    def __init__(self, worker_name: str, clock: DatabaseClock) -> None:
        self.held: dict[str, Claim] = {}
        self.outbox: list[Outcome] = []
        self.outbox_since = 0.0
        self.counts = Counts()
        self.tally = Tally()
        self.put_back = False
        self._worker_name = worker_name
        self._clock = clock

    def add(self, ended: list[Outcome]) -> None:
        """Take outcomes, to be settled soon."""
        if not self.outbox:
            self.outbox_since = monotonic()
        self.outbox += ended

    def forget(self) -> None:
        """Drop everything: the lease was lost, and others have it now."""
        self.held.clear()
        self.outbox.clear()

    @property
    def full(self) -> bool:
        """Whether there is a batch's worth to settle."""
        return len(self.outbox) >= SETTLE_MOST

    @property
    def unfinished(self) -> bool:
        return bool(self.held or self.outbox)

    def take_batch(self) -> list[Outcome]:
        size = count = 0
        for outcome in self.outbox[:SETTLE_MOST]:
            size += len(outcome.value or "") + len(outcome.error or "")
            count += 1
            if size > SETTLE_BYTES:
                break
        batch, self.outbox = self.outbox[:count], self.outbox[count:]
        return batch

    async def trade(
        self, connection: AsyncConnection, worker_id: int, batch: Sequence[Outcome], lanes: Sequence[Lane], wanted: int
    ) -> Claims:
        """Settle a batch and claim; in the usual case with one statement."""
        self.put_back = False
        finished = [self._dated(o) for o in batch if o.ending in FINISHING and o.grown is None]
        if len(finished) < len(batch):
            await self._put_back(connection, worker_id, batch)
        if not finished:
            return await claim(connection, worker_id, lanes, wanted) if wanted else Claims()
        who, joined = (worker_id, self._worker_name), self._concerns_others(finished)
        self.put_back |= joined
        try:
            if wanted:
                settled, claims = await exchange(connection, *who, finished, lanes, wanted, concluding=joined)
            else:
                settled, claims = await (conclude if joined else settle)(connection, *who, finished), Claims()
        except REFUSALS:
            settled = await self._settle_one_by_one(connection, worker_id, finished)
            claims = await claim(connection, worker_id, lanes, wanted) if wanted else Claims()
        self._note(finished, settled)
        return claims

    def _dated(self, outcome: Outcome) -> Outcome:
        started = None if outcome.started is None else self._clock.epoch(outcome.started)
        # Every outcome passes here, and `_replace` takes three times as long.
        return Outcome(*outcome[:5], started, self._clock.epoch(outcome.finished), *outcome[7:])

    def _concerns_others(self, outcomes: Sequence[Outcome]) -> bool:
        return any(claim.concerns_others for o in outcomes if (claim := self.held.get(o.id)) is not None)

    async def _settle_one_by_one(
        self, connection: AsyncConnection, worker_id: int, outcomes: list[Outcome]
    ) -> set[str]:
        """Settle a batch of which PostgreSQL refused a value: that one fails, the others are stored."""
        settled: set[str] = set()
        for place, outcome in enumerate(outcomes):
            try:
                settled |= await conclude(connection, worker_id, self._worker_name, [outcome])
            except REFUSALS as error:
                outcomes[place] = outcome = refused(outcome, error)
                with suppress(*REFUSALS):
                    settled |= await conclude(connection, worker_id, self._worker_name, [outcome])
        return settled

    async def _put_back(self, connection: AsyncConnection, worker_id: int, batch: Sequence[Outcome]) -> None:
        released = [o for o in batch if o.ending in BACK_IN_LINE]
        lost = [o for o in batch if o.ending == Ending.LOST]
        if released:
            settled = await release(connection, worker_id, released)
            # What is left was reclaimed meanwhile, or has started and may not run twice.
            lost += [interrupted(o) for o in released if o.id not in settled]
            self._note([o for o in released if o.id in settled], settled)
        if stored := [self._dated(o) for o in batch if o.ending == Ending.SETTLED]:
            self.put_back |= self._concerns_others(stored)  # which can go on
            self._note(stored, {o.id for o in stored})
        if retried := [self._dated(o) for o in batch if o.ending == Ending.RETRIED]:
            await self._go_on(retry, connection, worker_id, retried)
        for outcome in [self._dated(o) for o in batch if o.grown is not None]:
            await self._go_on(grow, connection, worker_id, [outcome])
        if lost:
            dated = [self._dated(o) for o in lost]
            fate = await lose(connection, worker_id, self._worker_name, dated, settings.CRASH_LIMIT)
            self._note([o._replace(ending=Ending.FAILED) if fate.get(o.id) else o for o in dated], set(fate))
            self.put_back = True

    async def _go_on(
        self, verb: Callable[..., Any], connection: AsyncConnection, worker_id: int, outcomes: list[Outcome]
    ) -> None:
        """Write outcomes that put something in line. One that PostgreSQL refuses fails."""
        self.put_back = True
        try:
            self._note(outcomes, await verb(connection, worker_id, self._worker_name, outcomes))
        except REFUSALS as error:
            if len(outcomes) > 1:
                for outcome in outcomes:
                    await self._go_on(verb, connection, worker_id, [outcome])
            else:
                failed = [refused(outcomes[0], error)]
                self._note(failed, await conclude(connection, worker_id, self._worker_name, failed))

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
        succeeded = sum(map(endings.count, (Ending.SUCCEEDED, Ending.FORGOTTEN, Ending.SETTLED)))
        counts = self.counts
        self.counts = Counts(0, counts.succeeded + succeeded, counts.failed + failed, counts.lost + lost)
        if pairs:
            self.tally.add(pairs)
            events.emit(events.TasksSettled(pairs))
        if dropped:
            events.emit(events.OutcomesDropped(dropped))
