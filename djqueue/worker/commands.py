"""The commands that the worker itself obeys: what it knows of its tasks, its queues and its pool."""

from __future__ import annotations

import asyncio
import os
import resource
from collections.abc import Callable, Iterator, Mapping
from time import monotonic
from typing import Any

from psycopg import AsyncConnection

from djqueue.control.catalogue import Command
from djqueue.records import Claim
from djqueue.store.looks import due_tasks, open_cancellations
from djqueue.store.workers import describe

from .clock import DatabaseClock
from .lookout import Lookout
from .loop import ClaimLoop
from .options import WorkerOptions
from .pool import Pool
from .progress import ProgressPage
from .scale import Scale
from .weight import weight

ROWS_MOST = 10_000
"""Tasks in an answer at the most."""


class Commands:
    """Each public method is the command of its name; ``ValueError`` is an answer."""

    def __init__(
        self,
        options: WorkerOptions,
        loop: ClaimLoop,
        pool: Pool,
        page: ProgressPage,
        lookout: Lookout,
        clock: DatabaseClock,
        stop: Callable[[], object],
    ) -> None:
        self.scale = Scale(options, pool)
        self.limits = loop.limits
        self._options = options
        self._loop = loop
        self._pool = pool
        self._page = page
        self._lookout = lookout
        self._clock = clock
        self._stop = stop
        self._stopping = False
        self._began = monotonic()

    async def obey(self, connection: AsyncConnection, command: Command, arguments: Mapping[str, Any]) -> Any:
        """Run a command and return its answer. Raises ``ValueError`` for arguments that make no sense."""
        answer = await getattr(self, command.name)(connection, **command.bind(arguments))
        return answer

    def afterwards(self) -> None:
        """Do what can only be done once the answer is stored."""
        if self._stopping:
            self._stopping = False
            self._stop()

    # Questions

    async def ping(self, connection: AsyncConnection) -> Any:
        return {"ok": "pong"}

    async def clock(self, connection: AsyncConnection) -> Any:
        return {"clock": self._clock.epoch(monotonic())}

    async def active(self, connection: AsyncConnection) -> Any:
        return [self._shown(claim, pid) for claim, pid in self._running()]

    async def reserved(self, connection: AsyncConnection) -> Any:
        return [self._shown(claim) for claim in self._reserved()]

    async def query_task(self, connection: AsyncConnection, ids: list[str]) -> Any:
        found = {claim.id: ["reserved", self._shown(claim)] for claim in self._reserved()}
        found.update({claim.id: ["active", self._shown(claim, pid)] for claim, pid in self._running()})
        return {task_id: found[task_id] for task_id in ids if task_id in found}

    async def scheduled(self, connection: AsyncConnection, limit: int) -> Any:
        selection = self._options.queues
        rows = await due_tasks(connection, _most(limit), lambda queue: selection.rank(queue) is not None)
        return [
            {
                "eta": row.run_at.isoformat(),
                "priority": row.priority,
                "request": {
                    "id": row.id,
                    "name": row.name,
                    "delivery_info": {"routing_key": row.queue, "priority": row.priority},
                },
            }
            for row in rows
        ]

    async def revoked(self, connection: AsyncConnection, limit: int) -> Any:
        return await open_cancellations(connection, _most(limit))

    async def active_queues(self, connection: AsyncConnection) -> Any:
        paused = self._lookout.pauses.queues()
        seen = {lane.queue for lane in self._lookout.lanes(paused_too=True)}
        plain = {pattern for pattern in self._options.queues.patterns if not set(pattern) & set("*?")}
        return [{"name": name, "paused": name in paused} for name in sorted(seen | plain)]

    async def stats(self, connection: AsyncConnection) -> Any:
        counts = self._loop.settler.counts
        usage = resource.getrusage(resource.RUSAGE_SELF)
        return {
            "pid": os.getpid(),
            "uptime": int(monotonic() - self._began),
            "clock": self._clock.epoch(monotonic()),
            "queues": str(self._options.queues),
            "draining": self._loop.draining,
            "quiet": self._loop.quiet,
            "total": {"succeeded": counts.succeeded, "failed": counts.failed, "lost": counts.lost},
            "active": sum(1 for _ in self._running()),
            "reserved": sum(1 for _ in self._reserved()),
            "prefetch": self._pool.prefetch,
            "pool": {
                "implementation": self._options.pool,
                "executors": self.scale.size,
                "max-concurrency": self._pool.concurrency,
                "processes": sorted(executor.pid for executor in self._pool.crew if executor.pid),
                "leaving": len(self._pool.crew.leaving),
                "autoscale": self.scale.shown,
            },
            "time_limits": self.limits.shown,
            "paused": self._lookout.pauses.shown,
            "rusage": {
                "utime": round(usage.ru_utime, 3),
                "stime": round(usage.ru_stime, 3),
                "maxrss": usage.ru_maxrss,
                "rss": weight(),
            },
            "asyncio_tasks": len(asyncio.all_tasks()),
        }

    # Orders

    async def add_consumer(self, connection: AsyncConnection, queue: str) -> Any:
        self._options.queues.add(queue)
        self._loop.wake()
        await self._describe(connection)
        return {"ok": f"serves {self._options.queues}"}

    async def cancel_consumer(self, connection: AsyncConnection, queue: str) -> Any:
        self._options.queues.cancel(queue)
        await self._describe(connection)
        return {"ok": f"serves {self._options.queues}" if self._options.queues.patterns else "serves no queue"}

    async def pool_grow(self, connection: AsyncConnection, n: int) -> Any:
        self._refuse_while_draining()
        self.scale.grow(n)
        return await self.resized(connection)

    async def pool_shrink(self, connection: AsyncConnection, n: int) -> Any:
        self._refuse_while_draining()
        self.scale.shrink(n)
        return await self.resized(connection)

    async def autoscale(self, connection: AsyncConnection, max: int, min: int) -> Any:
        self._refuse_while_draining()
        self.scale.between(min, max)
        await self.resized(connection)
        return {"ok": f"autoscale: {self.scale.shown or 'off'}"}

    async def time_limit(
        self, connection: AsyncConnection, task_name: str, hard: float | None, soft: float | None
    ) -> Any:
        self.limits.set(task_name, hard, soft)
        return {"ok": f"time limits of {task_name}: hard {hard}, soft {soft}"}

    async def quiet(self, connection: AsyncConnection, on: bool) -> Any:
        self._refuse_while_draining()
        self._loop.quiet = on
        self._loop.wake()
        return {"ok": "claims nothing more" if on else "claims again"}

    async def shutdown(self, connection: AsyncConnection) -> Any:
        self._stopping = True
        return {"ok": "shutting down"}

    async def resized(self, connection: AsyncConnection) -> Any:
        """Write how large the pool is now."""
        self._loop.wake()
        await self._describe(connection)
        return {"ok": f"{self.scale.size} executors"}

    async def _describe(self, connection: AsyncConnection) -> None:
        await describe(
            connection,
            self._loop.worker_id,
            queues=str(self._options.queues),
            processes=self.scale.size,
            concurrency=self._pool.concurrency if self._options.pool == "processes" else self._options.slots,
        )

    def _refuse_while_draining(self) -> None:
        if self._loop.draining:
            raise ValueError("the worker is draining")

    def _running(self) -> Iterator[tuple[Claim, int]]:
        for executor in self._pool.crew:
            serials = self._page.running(executor.position)
            for serial, claim, _ in executor.outstanding.values():
                if serial in serials:
                    yield claim, executor.pid

    def _reserved(self) -> list[Claim]:
        begun = {claim.id for claim, _ in self._running()} | {outcome.id for outcome in self._loop.settler.outbox}
        return [claim for claim in self._loop.settler.held.values() if claim.id not in begun]

    def _shown(self, claim: Claim, pid: int | None = None) -> dict[str, Any]:
        """Return a task without its arguments, which only the site can redact."""
        return {
            "id": claim.id,
            "name": claim.name,
            "type": claim.name,
            "attempt": claim.attempt,
            "hostname": self._options.name,
            "time_start": claim.claimed,
            "delivery_info": {
                "routing_key": claim.queue,
                "priority": claim.priority,
                "redelivered": claim.attempt > 1,
            },
            "worker_pid": pid,
        }


def _most(limit: int) -> int:
    if not 0 <= limit <= ROWS_MOST:
        raise ValueError(f"expected limit to be 0 to {ROWS_MOST:,}, got: {limit}")
    return limit
