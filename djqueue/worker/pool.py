"""The pool: executors as the worker sees them, and which of them runs what."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections import deque
from collections.abc import Callable, Iterable
from time import monotonic
from typing import Any

from djqueue import events
from djqueue.records import Claim, Outcome
from djqueue.states import Ending

from .estimates import Estimates
from .executor import INTERRUPT
from .handle import ExecutorHandle, describe_exit
from .progress import IDLE, ProgressPage
from .spawners import Spawner

PREFETCH = 0.05
"""Seconds of work to hold for each executor."""
FRAME = 0.01
"""Seconds of work to send to an executor at once; a task that takes longer is sent alone, to an idle one."""
FRAME_MOST = 200
"""Tasks in a frame."""
CLAIM_MOST = 500
"""Tasks to claim at once."""
HOLD_MOST = 1500
"""Tasks to hold unfinished."""
PATIENCE = 1.0
"""Seconds that a claimed task may wait here for its start before it goes back in line."""
RECALL_AFTER = 0.02
"""Seconds without news from an executor after which its unstarted tasks are given to others."""
TICK = 0.01
RESPAWN_PAUSE = 0.5
HANG_UP_AFTER = 0.1
"""Seconds between the end of an executor's process and the end of its connection."""


class Pool:
    """Gives claimed tasks to executors and hands their outcomes to ``on_outcomes``.

    Tasks are held here, not in the executors, so that whichever is free first takes the next one.
    """

    def __init__(
        self,
        spawner: Spawner,
        page: ProgressPage,
        concurrency: int,
        on_outcomes: Callable[[list[Outcome]], None],
    ) -> None:
        self.concurrency = concurrency
        self.executors: dict[int, ExecutorHandle] = {}
        self.estimates = Estimates()
        self.stopping = False
        self.on_progress: Callable[[list[Any]], None] = lambda items: None
        self._waiting: deque[tuple[Claim, float, float]] = deque()
        self._waiting_load = 0.0
        self._spawner = spawner
        self._page = page
        self._on_outcomes = on_outcomes
        self._ticking: asyncio.TimerHandle | None = None
        self._closing: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        for slot in range(self.concurrency):
            await self._spawn(slot)

    async def _spawn(self, slot: int) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        self._page[slot] = IDLE
        executor = ExecutorHandle(self, slot)
        self.executors[slot] = executor
        await asyncio.get_running_loop().create_connection(lambda: executor, sock=ours)
        self._spawner.spawn(slot, theirs)

    @property
    def held(self) -> int:
        """Tasks that are here and have no outcome yet."""
        return len(self._waiting) + sum(len(e.outstanding) for e in self.executors.values())

    @property
    def running(self) -> int:
        return sum(1 for e in self.executors.values() if e.outstanding)

    @property
    def prefetch(self) -> int:
        """How many tasks of the mean run time the pool holds at the most."""
        return min(CLAIM_MOST, int(self.concurrency * PREFETCH / self.estimates.mean))

    def wanted(self) -> int:
        """Return how many more tasks to claim: free slots, and a little work to prefetch by recent run time."""
        now = monotonic()
        idle = 0
        room = 0.0
        for executor in self.executors.values():
            if not executor.connected:
                continue
            if not executor.outstanding:
                idle += 1
                room += PREFETCH
            elif now - executor.heard < PREFETCH:
                room += max(0.0, PREFETCH - executor.load)
        prefetch = int((room - self._waiting_load) / self.estimates.mean)
        return max(0, min(max(idle - len(self._waiting), prefetch), CLAIM_MOST, HOLD_MOST - self.held))

    @property
    def starving(self) -> bool:
        """Whether a slot has nothing to do."""
        return not self._waiting and any(not e.outstanding and e.connected for e in self.executors.values())

    def add(self, claims: Iterable[Claim]) -> None:
        now = monotonic()
        for claim in claims:
            estimate = self.estimates.of(claim.name)
            self._waiting_load += estimate
            self._waiting.append((claim, now, estimate))
        if self.stopping:
            self._release_waiting()
        else:
            self._distribute()

    def _distribute(self) -> None:
        for executor in self.executors.values():
            if not self._waiting:
                break
            # One whose tasks were recalled is slow: they would come back to it for ever.
            if executor.connected and executor.load < FRAME and not executor.recalled:
                self._fill(executor)
        if self._ticking is None and self.held:
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _fill(self, executor: ExecutorHandle) -> None:
        claims: list[Claim] = []
        estimates: list[float] = []
        load = executor.load
        busy = bool(executor.outstanding)
        while self._waiting and len(claims) < FRAME_MOST:
            claim, _, waiting_estimate = self._waiting[0]
            estimate = self.estimates.of(claim.name)
            # A long task starts only in an idle executor, and nothing is queued behind it.
            if busy and (estimate >= FRAME or load >= FRAME * 2):
                break
            self._waiting.popleft()
            self._waiting_load = self._waiting_load - waiting_estimate if self._waiting else 0.0
            claims.append(claim)
            estimates.append(estimate)
            load += estimate
            busy = True
        if claims:
            executor.send(claims, estimates)

    def ended(self, executor: ExecutorHandle, items: list[Any]) -> None:
        """An executor reports attempts that ended."""
        outcomes = []
        for item in items:
            task_id, attempt, ending, *rest = item
            outcome = Outcome(task_id, attempt, Ending(ending), *rest)
            claim = executor.forget(task_id, attempt)
            if claim is None:
                continue
            if outcome.started is not None:
                self.estimates.learn(claim.name, outcome.finished - outcome.started)
            outcomes.append(outcome)
        self._on_outcomes(outcomes)
        self._distribute()

    def returned(self, executor: ExecutorHandle, ids: list[str]) -> None:
        """An executor gives back tasks that it has not started."""
        now = monotonic()
        back = [claim for task_id in ids if (claim := executor.forget(task_id)) is not None]
        for claim in reversed(back):
            estimate = self.estimates.of(claim.name)
            self._waiting_load += estimate
            self._waiting.appendleft((claim, now, estimate))
        if self.stopping:
            self._release_waiting()
        else:
            self._distribute()

    def progressed(self, items: list[Any]) -> None:
        self.on_progress([tuple(item) for item in items])

    def _tick(self) -> None:
        self._ticking = None
        now = monotonic()
        for executor in self.executors.values():
            quiet = now - executor.heard
            if len(executor.outstanding) > 1 and quiet > RECALL_AFTER and not executor.recalled:
                executor.recall()
        if self._waiting and now - self._waiting[0][1] > PATIENCE:
            self._release_waiting()
        if self.held:
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def _release_waiting(self) -> None:
        released = [Outcome.released(claim.id, claim.attempt) for claim, _, _ in self._waiting]
        self._waiting.clear()
        self._waiting_load = 0.0
        if released:
            self._on_outcomes(released)

    def drain(self) -> None:
        """Start nothing more: give back what waits, let finish what runs."""
        self.stopping = True
        self._release_waiting()
        for executor in self.executors.values():
            if len(executor.outstanding) > 1:
                executor.recall()

    def interrupt(self) -> None:
        """Raise ``Interrupted`` in every task that runs."""
        self._signal_all(INTERRUPT)

    def abandon(self) -> None:
        """Kill every executor and hear nothing more of what they ran."""
        self._waiting.clear()
        self._waiting_load = 0.0
        for executor in self.executors.values():
            executor.forget_all()
        self.kill()

    def release_running(self) -> None:
        """Give back everything that was sent to executors; outcomes they still send are not heard."""
        released = []
        for executor in self.executors.values():
            released += [Outcome.released(claim.id, claim.attempt) for _, claim, _ in executor.outstanding.values()]
            executor.forget_all()
        if released:
            self._on_outcomes(released)

    def kill(self) -> None:
        self._signal_all(signal.SIGKILL)

    def _signal_all(self, number: int) -> None:
        for executor in self.executors.values():
            if executor.pid and executor.connected:
                self._spawner.kill(executor.pid, number)

    def stop(self) -> None:
        """Tell idle executors to end."""
        self.stopping = True
        for executor in self.executors.values():
            executor.stop()

    def spawned(self, slot: int, pid: int) -> None:
        if slot in self.executors:
            self.executors[slot].pid = pid

    def exited(self, pid: int, status: int) -> None:
        for executor in self.executors.values():
            if executor.pid == pid:
                executor.status = status
                # A process that the task forked may keep the socket open; what the executor still said has arrived
                # by then.
                asyncio.get_running_loop().call_later(HANG_UP_AFTER, executor.hang_up)

    def expired(self) -> None:
        """The watchdog kills the executors, because the lease was not renewed in time: no fault of what they run."""
        for executor in self.executors.values():
            executor.expired = True

    def closed(self, executor: ExecutorHandle) -> None:
        """The connection to an executor ended: it died, or it was told to stop."""
        if self.stopping and not executor.outstanding:
            return
        closing = asyncio.get_running_loop().create_task(self._bury(executor))
        self._closing.add(closing)
        closing.add_done_callback(self._closing.discard)

    async def _bury(self, executor: ExecutorHandle) -> None:
        if executor.pid and executor.status is None:
            # It may have closed the socket and live on; then nobody can reach it any more.
            self._spawner.kill(executor.pid, signal.SIGKILL)
        for _ in range(100):
            if executor.status is not None:
                break
            await asyncio.sleep(TICK)
        if self.executors.get(executor.slot) is executor:
            del self.executors[executor.slot]
        unused = not executor.useful and self._page[executor.slot] == IDLE
        self._settle_lost(executor)
        if unused:
            # It died by itself before it was given anything; starting the next in a tight loop helps nobody.
            await asyncio.sleep(RESPAWN_PAUSE)
        if not self.stopping:
            await self._spawn(executor.slot)
            self._distribute()

    def _settle_lost(self, executor: ExecutorHandle) -> None:
        culprit, outcomes = executor.lost(self._page[executor.slot])
        if not self.stopping or culprit is not None:
            returned = len(outcomes) - (culprit is not None)
            events.emit(events.ExecutorLost(executor.pid, describe_exit(executor.status), culprit, returned))
        self._on_outcomes(outcomes)
