"""Upkeep: what a worker does besides running tasks. Renew its lease, listen, promote, reclaim, prune."""

from __future__ import annotations

import math
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from time import monotonic

from psycopg import AsyncConnection, sql
from psycopg.errors import QueryCanceled

from djqueue import events
from djqueue.conf import seconds, settings
from djqueue.states import State
from djqueue.store.broadcast import cancel_deserted
from djqueue.store.cancel import Cancellation, cancellations, forget_notes
from djqueue.store.commands import forget_commands
from djqueue.store.keys import prune_keys
from djqueue.store.pace import pace
from djqueue.store.patrol import let_expired_go, patrol
from djqueue.store.promote import BATCH as PROMOTE_BATCH
from djqueue.store.promote import promote
from djqueue.store.prune import BATCH as PRUNE_BATCH
from djqueue.store.prune import prune
from djqueue.store.reclaim import reclaim, reclaim_orphaned
from djqueue.store.tally import append, fold, prune_statistics
from djqueue.store.task_logs import prune_logs
from djqueue.store.wakeup import CANCEL, CHANNEL, COMMAND, DUE, INTERVAL
from djqueue.store.workers import Counts, heartbeat

from .clock import DatabaseClock
from .link import DATABASE_ERRORS, Link
from .tally import Tally

LISTEN = sql.SQL("LISTEN {}").format(sql.Identifier(CHANNEL))
PROMOTE_EVERY = 1.0
PACE_EVERY = 1.0
PATROL_EVERY = 10.0
PRUNE_EVERY = 60.0
COUNT_EVERY = 5.0
"""Seconds of statistics that are lost with a worker that is killed."""
FOLD_EVERY = 60.0
ORPHANS_EVERY = 60.0
NOTES_KEPT = 86400.0
"""Seconds for which a cancellation of a task that is not known is remembered."""

Job = Callable[[AsyncConnection], Awaitable[float]]
"""Something to do; it returns the seconds until it is due again."""


class Upkeep:
    """A loop on a connection of its own, so that a slow claim cannot cost the lease.

    ``calls`` are jobs that a wake-up asks for, by its payload; they are also done after each connect.
    """

    def __init__(
        self,
        link: Link,
        clock: DatabaseClock,
        tally: Tally,
        *,
        counts: Callable[[], tuple[Counts, bool]],
        on_notify: Callable[[str], None],
        on_promoted: Callable[[], None],
        on_renewed: Callable[[float], None],
        on_lease_lost: Callable[[AsyncConnection], Awaitable[None]],
        on_cancelled: Callable[[list[Cancellation]], None],
        calls: Mapping[str, Job],
    ) -> None:
        self.worker_id = 0
        self.listening = False
        self._link = link
        self._clock = clock
        self._tally = tally
        self._counts = counts
        self._on_notify = on_notify
        self._on_promoted = on_promoted
        self._on_renewed = on_renewed
        self._on_lease_lost = on_lease_lost
        self._on_cancelled = on_cancelled
        self._calls = calls
        self._called = False
        self._patrolled = self._pruned_keys = ""
        self._listens_on: AsyncConnection | None = None
        self._due = self._first_due(monotonic())

    def _first_due(self, now: float) -> dict[Job, float]:
        return {
            self._renew: now,
            self._promote: now,
            self._pace: now,
            self._patrol: now + PATROL_EVERY / 2,
            self._reclaim_orphans: now,
            self._cancel: math.inf,
            self._prune: now + PRUNE_EVERY / 2,
            self._count: now + COUNT_EVERY,
            self._fold: now + FOLD_EVERY / 3,
            self._prune_keys: now + PRUNE_EVERY / 2,
        }

    def add(self, job: Job) -> None:
        """Do this as well, from now on."""
        self._due[job] = monotonic()

    async def run(self) -> None:
        """Work until cancelled."""
        while True:
            try:
                connection = await self._link.connection()
                await self._listen(connection)
                for job in self._calls.values():
                    self.add(job)
                await self._work(connection)
            except DATABASE_ERRORS as error:
                self.listening = False
                await self._link.broken(error)

    async def _work(self, connection: AsyncConnection) -> None:
        while True:
            for job, due in list(self._due.items()):
                if monotonic() >= due:
                    self._due[job] = monotonic() + await job(connection)
            pause = max(0.0, min(self._due.values()) - monotonic())
            # Also without LISTEN this is the way to wait: it notices a connection that breaks.
            async for notify in connection.notifies(timeout=pause, stop_after=1):
                self.heard(notify.payload)

    def heard(self, payload: str) -> None:
        """Take a wake-up. Anybody can send one, so one that makes no sense is ignored."""
        if payload == CANCEL:
            self._called = True
            self._due[self._cancel] = monotonic()
            return
        if payload in self._calls:
            self.add(self._calls[payload])
            return
        if not payload.startswith(DUE):
            self._on_notify(payload)
            return
        with suppress(ValueError):
            soon = monotonic() + float(payload.removeprefix(DUE))
            self._due[self._promote] = min(self._due[self._promote], soon)

    async def _listen(self, connection: AsyncConnection) -> None:
        if settings.LISTEN is True and self._listens_on is not connection:
            await connection.execute(LISTEN)
            self._listens_on = connection
            self.listening = True

    async def _renew(self, connection: AsyncConnection) -> float:
        counts, draining = self._counts()
        asked = monotonic()
        beat = await heartbeat(connection, self.worker_id, settings.LEASE, counts, draining=draining)
        if beat is None:
            await self._on_lease_lost(connection)
            return 0.0
        self._clock.sync(beat.epoch)
        self._on_renewed(asked + settings.LEASE)
        if beat.expired:
            await self._reclaim(connection)
        if beat.cancellations:
            self._due[self._cancel] = monotonic()
        if beat.commands:
            self.add(self._calls[COMMAND])
        heartbeat_every: float = settings.HEARTBEAT
        return heartbeat_every

    async def _reclaim(self, connection: AsyncConnection) -> None:
        for given_up in await reclaim(connection, settings.CRASH_LIMIT):
            events.emit(events.WorkerReclaimed(*given_up))
            self._on_promoted()

    async def _cancel(self, connection: AsyncConnection) -> float:
        if asked := await cancellations(connection, self.worker_id):
            self._on_cancelled(asked)
        # A call that came right after another was held back by its sender.
        again, self._called = self._called, False
        return INTERVAL * 2 if again else math.inf

    async def _reclaim_orphans(self, connection: AsyncConnection) -> float:
        for given_up in await reclaim_orphaned(connection, settings.CRASH_LIMIT):
            events.emit(events.WorkerReclaimed(*given_up))
        await cancel_deserted(connection, settings.BROADCAST_QUEUES)
        return ORPHANS_EVERY

    async def _promote(self, connection: AsyncConnection) -> float:
        promoted, next_in = await promote(connection)
        if promoted:
            self._on_promoted()
        if promoted == PROMOTE_BATCH:
            return 0.0
        return PROMOTE_EVERY if next_in is None else min(PROMOTE_EVERY, next_in)

    async def _pace(self, connection: AsyncConnection) -> float:
        passed, next_in = await pace(connection)
        if passed or next_in is not None:
            self._on_promoted()  # also where another worker let tasks pass: they are to start now
        return PACE_EVERY if next_in is None else min(PACE_EVERY, next_in)

    async def _patrol(self, connection: AsyncConnection) -> float:
        self._patrolled = await patrol(connection, self._patrolled)
        if await let_expired_go(connection):
            self._on_promoted()
        return PACE_EVERY if self._patrolled else PATROL_EVERY

    async def _prune(self, connection: AsyncConnection) -> float:
        await forget_commands(connection)
        keep = {State[name.upper()]: seconds(kept) for name, kept in settings.RETENTION.items() if kept is not None}
        if not keep:
            return PRUNE_EVERY
        began = monotonic()
        await forget_notes(connection, NOTES_KEPT)
        try:
            full = await prune(connection, keep) >= PRUNE_BATCH
        except QueryCanceled as error:
            events.emit(events.PruningFailed(str(error)))
            return PRUNE_EVERY
        # While there is a backlog, half of the time at the most goes into it.
        return max(0.05, monotonic() - began) if full else PRUNE_EVERY

    async def _prune_keys(self, connection: AsyncConnection) -> float:
        page = await prune_keys(connection, self._pruned_keys)
        self._pruned_keys = page.last
        return 0.05 if page.deleted and page.last else PRUNE_EVERY

    async def _count(self, connection: AsyncConnection) -> float:
        await write_tally(connection, self._tally)
        return COUNT_EVERY

    async def _fold(self, connection: AsyncConnection) -> float:
        await fold(connection)
        if (kept := settings.STATISTICS_KEPT) is not None:
            await prune_statistics(connection, seconds(kept))
        if settings.LOGS_KEPT is not None:
            await prune_logs(connection, seconds(settings.LOGS_KEPT))
        return FOLD_EVERY


async def write_tally(connection: AsyncConnection, tally: Tally) -> None:
    """Write what was counted. What the database may not have got is counted again: twice rather than not at all."""
    rows = tally.take()
    if rows:
        try:
            await append(connection, rows)
        except BaseException:
            tally.put_back(rows)
            raise
        events.emit(events.AttemptsCounted(rows))


class Listener:
    """Hears wake-ups over a connection of their own, where the worker's others go through a pooler."""

    def __init__(self, link: Link, heard: Callable[[str], None]) -> None:
        self.listening = False
        self._link = link
        self._heard = heard

    async def run(self) -> None:
        """Listen until cancelled. While the connection is away, workers poll."""
        while True:
            try:
                connection = await self._link.connection()
                await connection.execute(LISTEN)
                self.listening = True
                async for notify in connection.notifies():
                    self._heard(notify.payload)
            except DATABASE_ERRORS as error:
                self.listening = False
                await self._link.broken(error)
