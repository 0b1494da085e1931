"""A worker's life: start, work, drain, leave."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Callable, Coroutine
from contextlib import suppress
from enum import IntEnum
from time import monotonic
from typing import Any

from psycopg import AsyncConnection

from djqueue import events
from djqueue.conf import settings
from djqueue.records import Outcome
from djqueue.store.cancel import Cancellation
from djqueue.store.rates import declare_rates
from djqueue.store.wakeup import COMMAND, PAUSE
from djqueue.store.workers import Counts, leave, register

from .announcements import Announcement
from .autoscale import Autoscaler
from .clock import DatabaseClock
from .commands import Commands
from .components import Components
from .desk import Desk
from .forkserver import Loaded
from .link import DATABASE_ERRORS, Link
from .lookout import Lookout
from .loop import ClaimLoop
from .options import WorkerOptions
from .pool import Pool
from .progress import ProgressPage
from .registration import describe_database, row_of
from .spawners import ForkSpawner, SoloSpawner
from .upkeep import Listener, Upkeep, write_tally

GRACE = 5.0
"""Seconds that interrupted tasks have to clean up before their executor is killed."""
INTERRUPT_EVERY = 0.5
LEASE_MARGIN = 0.1
"""Share of the lease before whose end the executors are killed if it was not renewed."""


class ExitCode(IntEnum):
    """How ``runworker`` ends."""

    DRAINED = 0
    FAILED_TO_START = 1
    CRASHED = 2
    """The fork server or the beat ended by itself."""
    INTERRUPTED = 3
    """Tasks were interrupted and released."""


class Worker:
    """One worker; ``run`` returns its exit code."""

    def __init__(
        self, options: WorkerOptions, spawner: ForkSpawner | SoloSpawner, page: ProgressPage, loaded: Loaded
    ) -> None:
        self.options = options
        self._spawner = spawner
        self._rates = loaded.rates
        self._clock = DatabaseClock()
        self._work_link = Link(settings.DATABASE, f"worker {options.name}")
        self._upkeep_link = Link(settings.DATABASE, f"upkeep {options.name}")
        self._listen_link = (
            Link(settings.LISTEN, f"listen {options.name}") if isinstance(settings.LISTEN, str) else None
        )
        self._lookout = Lookout(options.queues, settings.POLL_MAX)
        self._loop = ClaimLoop(options, self._work_link, self._clock, self._lookout)
        self._pool = Pool(spawner, page, options, self._outcomes)
        self._pool.batches(loaded.batches)
        self._loop.pool = self._pool
        self._pool.on_progress = self._loop.progressed
        self._desk = self._make_desk(page)
        self._upkeep = Upkeep(
            self._upkeep_link,
            self._clock,
            self._loop.settler.tally,
            counts=self._counts,
            on_notify=self._loop.notified,
            on_promoted=self._loop.wake,
            on_renewed=self._renewed,
            on_lease_lost=self._lease_lost,
            on_cancelled=self._cancelled,
            calls={COMMAND: self._desk.look, PAUSE: self._lookout.look_at_pauses},
        )
        self._components = Components(settings.WORKER_COMPONENTS, options.facts)
        self._listener = Listener(self._listen_link, self._upkeep.heard) if self._listen_link else None
        self._hear(spawner)
        self.asyncio_loop: asyncio.AbstractEventLoop | None = None
        self._stops = 0
        self._exit_code = ExitCode.DRAINED
        self._work: asyncio.Task[None] | None = None
        self._background: set[asyncio.Task[None]] = set()

    def _make_desk(self, page: ProgressPage) -> Desk:
        options, pool, lookout = self.options, self._pool, self._lookout
        commands = Commands(options, self._loop, pool, page, lookout, self._clock, self.stop)
        self._autoscaler = Autoscaler(options.name, commands.scale, pool, lookout, commands.resized)
        commands.scale.on_bounds = lambda: self._upkeep.add(self._autoscaler.look)
        return Desk(commands, self._spawner.command, lambda: lookout.listening)

    def _hear(self, spawner: ForkSpawner | SoloSpawner) -> None:
        spawner.on_spawned = self._pool.crew.spawned
        spawner.on_exited = self._pool.crew.exited
        spawner.on_expired = self._pool.expired
        spawner.on_gone = self.child_gone

    async def run(self) -> ExitCode:
        started = monotonic()
        await self._components.start()
        await self._register_first()
        self._spawner.watch()
        await self._pool.start()
        self._upkeep.add(self._autoscaler.look)
        upkeep = asyncio.create_task(self._upkeep.run())
        if self._listener is not None:
            self._spawn_background(self._listener.run())
        self._announce()
        self._spawner.announce(Announcement.READY)
        self._work = asyncio.create_task(self._loop.run())
        try:
            await asyncio.wait([self._work, upkeep], return_when=asyncio.FIRST_COMPLETED)
            if upkeep.done():
                await upkeep  # it only ends by an error
            with suppress(asyncio.CancelledError):
                await self._work
        finally:
            upkeep.cancel()
            await self._leave()
        events.emit(events.WorkerStopped(self.options.name, self._loop.settled, monotonic() - started))
        return self._exit_code

    async def _register_first(self) -> None:
        while not self._stops:
            try:
                connection = await self._work_link.connection()
                await declare_rates(connection, self._rates)
                return await self._register(connection)
            except DATABASE_ERRORS as error:
                await self._work_link.broken(error)

    async def _register(self, connection: AsyncConnection) -> None:
        asked = monotonic()
        worker_id = await register(connection, row_of(self.options))
        for part in (self._loop, self._upkeep, self._pool, self._desk, self.options.queues):
            part.worker_id = worker_id
        self._renewed(asked + settings.LEASE)

    def _announce(self) -> None:
        options = self.options
        events.emit(
            events.WorkerStarted(
                options.name,
                str(options.queues),
                options.pool,
                options.concurrency,
                len(self._rates),
                describe_database(settings.DATABASE),
                bool(settings.LISTEN),
                options.processes,
                options.given,
            )
        )

    def _outcomes(self, outcomes: list[Outcome]) -> None:
        self._loop.outcomes(outcomes)

    def _counts(self) -> tuple[Counts, bool]:
        self._lookout.listening = (self._listener or self._upkeep).listening
        return self._loop.settler.counts._replace(running=self._pool.running), self._loop.draining or self._loop.quiet

    def _renewed(self, until: float) -> None:
        self._loop.lease_until = until - settings.LEASE * LEASE_MARGIN
        self._pool.lease_until = self._loop.lease_until
        self._spawner.lease(self._loop.lease_until)
        self._spawner.announce(Announcement.HEARTBEAT)

    async def _lease_lost(self, connection: AsyncConnection) -> None:
        """Others may run our tasks by now: abort them, and begin again under a new id."""
        events.emit(events.LeaseLost(self.options.name, len(self._loop.settler.held)))
        # Until there is a new id nothing is claimed, and what a claim under way brings is not taken.
        self._loop.worker_id, self._loop.lease_until = 0, 0.0
        self._loop.abandon()
        await self._register(connection)
        await self._desk.describe(connection)

    def _cancelled(self, asked: list[Cancellation]) -> None:
        """Somebody wants these tasks, which run here, to end."""
        if ids := [one.task_id for one in asked if not one.terminate]:
            self._pool.cancel(ids)
        if terminated := {one.task_id: one.signum or signal.SIGKILL for one in asked if one.terminate}:
            self._pool.terminate(terminated)

    def unready(self) -> dict[str, str]:
        """Return what keeps it from running tasks, by its name; nothing if it may claim."""
        if self._loop.draining:
            return {"draining": "it claims nothing more, and ends"}
        if not self._loop.worker_id:
            return {"database": "it has not reached the database yet"}
        if monotonic() >= self._loop.lease_until:
            return {"lease": "it could not be renewed: the database does not answer"}
        return {"quiet": "it was told to claim nothing"} if self._loop.quiet else {}

    def child_gone(self) -> None:
        """The fork server or the beat has ended by itself: drain, and let the service manager start us again."""
        if self._exit_code is ExitCode.DRAINED and not self._pool.stopping:
            self._exit_code = ExitCode.CRASHED
            self._drain()

    def stop(self, signum: int = 0) -> None:
        """Drain; asked again, interrupt what runs; asked a third time, end now. ``signum`` is the OS signal, if any."""
        self._stops += 1
        if self._stops == 1:
            self._spawner.announce(Announcement.STOPPING, signum)
            self._drain()
        elif self._stops == 2:
            self._spawner.announce(Announcement.STOPPING_NOW, signum)
            self._soft_stop()
        else:
            # The lease returns the rest: nobody renews it any more, and the fork server kills the executors.
            os._exit(128 + signal.SIGTERM)

    def _drain(self) -> None:
        events.emit(events.WorkerStopping(self.options.name, "drain", self._pool.running))
        self._loop.drain()
        if self.options.drain_timeout is not None:
            self._spawn_background(self._after(self.options.drain_timeout, self._soft_stop))

    def _soft_stop(self) -> None:
        if not self._loop.settler.held:
            return
        events.emit(events.WorkerStopping(self.options.name, "soft stop", self._pool.running))
        self._exit_code = ExitCode.INTERRUPTED
        self._spawn_background(self._interrupt_for_a_while())

    async def _interrupt_for_a_while(self) -> None:
        # More than once, because an OS signal that comes just before a task falls asleep does not wake it. A task
        # that was interrupted already is left to clean up.
        for _ in range(int(GRACE / INTERRUPT_EVERY)):
            if not self._pool.running:
                break
            self._pool.interrupt()
            await asyncio.sleep(INTERRUPT_EVERY)
        # What did not heed the interruption is killed; that is no fault of the tasks.
        self._pool.release_running()
        self._pool.kill()
        await asyncio.sleep(GRACE)
        self._give_up()

    def _give_up(self) -> None:
        """Leave although outcomes could not be stored: the database is away."""
        events.emit(events.WorkerStopping(self.options.name, "give up", len(self._loop.settler.held)))
        self._loop.give_up()
        if self._work is not None:
            self._work.cancel()

    async def _after(self, pause: float, action: Callable[[], None]) -> None:
        await asyncio.sleep(pause)
        action()

    def _spawn_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    async def _leave(self) -> None:
        for task in self._background:
            task.cancel()
        await self._components.stop()
        self._pool.stop()
        self._spawner.announce(Announcement.STOPPED)
        self._spawner.unwatch()
        self._spawner.close()
        try:
            connection = await asyncio.wait_for(self._work_link.connection(), timeout=2)
            await write_tally(connection, self._loop.settler.tally)
            await leave(connection, self._loop.worker_id)
        except (*DATABASE_ERRORS, TimeoutError):
            pass  # the lease ends by itself
        for link in (self._work_link, self._upkeep_link, self._listen_link):
            if link is not None:
                await link.close()
