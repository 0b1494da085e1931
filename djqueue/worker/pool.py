"""The pool: which executor runs which of the claimed tasks, and what becomes of them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Mapping
from time import monotonic
from typing import Any

from djqueue import events
from djqueue.records import Claim, Outcome
from djqueue.states import Ending

from .batches import Rules
from .crew import TICK, Crew
from .enforcement import Enforcement, revoked
from .estimates import Estimates
from .filling import Filler
from .handle import ExecutorHandle, describe_exit
from .options import WorkerOptions
from .progress import ProgressPage
from .spawners import Spawner
from .waiting import Waiting

PREFETCH = 0.05
"""Seconds of work to hold for each slot."""
CLAIM_MOST = 500
"""Tasks to claim at once."""
HOLD_MOST = 1500
"""Tasks to hold unfinished, besides those that have a slot."""
PATIENCE = 1.0
"""Seconds that a claimed task may wait here for its start before it goes back in line."""


class Pool:
    """Gives claimed tasks to executors and hands their outcomes to ``on_outcomes``.

    Tasks are held here, not in the executors, so that whichever is free first takes the next one.
    """

    def __init__(
        self,
        spawner: Spawner,
        page: ProgressPage,
        options: WorkerOptions,
        on_outcomes: Callable[[list[Outcome]], None],
    ) -> None:
        self.worker_id = 0
        self.lease_until = float("inf")
        self.concurrency = options.processes * options.slots
        self.crew = Crew(spawner, page, options, self)
        self.estimates = Estimates()
        self.stopping = False
        self.on_progress: Callable[[list[Any]], None] = lambda items: None
        self._slots = options.slots
        self._waiting = Waiting(self.estimates)
        self._filler = Filler(self.crew, self._waiting, self.estimates, options.slots)
        self._enforcement = Enforcement(self.crew, page)
        self._page = page
        self._on_outcomes = on_outcomes
        self._ticking: asyncio.TimerHandle | None = None
        self._ended_at = self.overflowed_at = 0.0

    def batches(self, rules: Rules) -> None:
        """Gather tasks into batches by these rules."""
        self._waiting.batches.rules = rules

    async def start(self) -> None:
        await self.crew.start()

    @property
    def held(self) -> int:
        """Tasks that are here and have no outcome yet."""
        return len(self._waiting) + sum(len(e.outstanding) for e in self.crew)

    @property
    def running(self) -> int:
        return sum(min(self._slots, e.busy) for e in self.crew)

    @property
    def prefetch(self) -> int:
        """How many tasks of the mean run time the pool holds at the most."""
        return min(CLAIM_MOST, int(self.concurrency * PREFETCH / self.estimates.mean))

    def wanted(self) -> int:
        """Return how many more tasks to claim: free slots, and a little work to prefetch by recent run time."""
        now = monotonic()
        idle = 0
        room = 0.0
        for place in self.crew.places:
            executor = place.current
            if executor is None or not executor.connected:
                continue
            busy = place.busy
            idle += max(0, self._slots - busy)
            if not busy:
                room += PREFETCH * self._slots
            elif now - executor.heard < PREFETCH:
                room += max(0.0, PREFETCH * self._slots - executor.load)
        prefetch = int((room - self._waiting.load) / self.estimates.mean)
        most = min(CLAIM_MOST, HOLD_MOST + self.concurrency - self.held)
        batches = self._waiting.batches.missing if len(self._waiting.batches) else 0
        return max(0, min(max(idle - self._waiting.in_line, prefetch) + batches, most))

    @property
    def starving(self) -> bool:
        """Whether a slot has nothing to do."""
        return not self._waiting.in_line and any(
            place.current is not None and place.current.connected and place.busy < self._slots
            for place in self.crew.places
        )

    def add(self, claims: Iterable[Claim]) -> None:
        now = monotonic()
        for claim in claims:
            self._waiting.add(claim, now)
        if self.stopping:
            self._release_waiting()
        else:
            self._distribute()

    def _distribute(self) -> None:
        if monotonic() >= self.lease_until:
            self._release_waiting()
            return
        places = self.crew.places
        shared = self._slots > 1 and len(places) > 1
        if shared:
            places = sorted(places, key=lambda place: place.busy)
        for number, place in enumerate(places):
            if not self._waiting:
                break
            # Executors with one slot take turns by themselves; those with many would leave nothing to the next.
            share = -(-self._waiting.in_line // (len(places) - number)) if shared else self._waiting.in_line
            self._filler.fill(place, share, self.worker_id)
        if self._ticking is None and self.held:
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def ready(self, executor: ExecutorHandle) -> None:
        """An executor has started."""
        self.crew.turn_all_over()
        self._distribute()

    def ended(self, executor: ExecutorHandle, items: list[Any]) -> None:
        """An executor reports attempts that ended."""
        self._ended_at = monotonic()
        outcomes = []
        for item in items:
            task_id, attempt, ending, *rest = item
            outcome = Outcome(task_id, attempt, Ending(ending), *rest)
            verdict = executor.condemned.pop(task_id, outcome) if executor.condemned else outcome
            claim = executor.forget(task_id, attempt)
            if claim is None:
                continue
            if outcome.started is not None:
                run_time = (outcome.finished - outcome.started) / self._waiting.batches.rules.get(claim.name, (1,))[0]
                self.estimates.learn(claim.name, run_time)
            # Solo cannot be killed: there, what may not go on is interrupted.
            outcomes.append(verdict if outcome.ending == Ending.RELEASED else outcome)
            if verdict is not outcome and not executor.condemned:
                executor.spared = False  # it ended by itself, after a mild OS signal
        self._on_outcomes(outcomes)
        if self.crew.recycles:
            self.crew.turn_all_over()
        self._distribute()

    def returned(self, executor: ExecutorHandle, ids: list[str]) -> None:
        """An executor gives back tasks that it has not started."""
        back = [claim for task_id in ids if (claim := executor.forget(task_id)) is not None]
        executor.sent -= len(back)
        self._waiting.put_back(back)
        self.crew.turn_all_over()
        if self.stopping:
            self._release_waiting()
        else:
            self._distribute()

    def progressed(self, items: list[Any]) -> None:
        self.on_progress([tuple(item) for item in items])

    def _tick(self) -> None:
        self._ticking = None
        now = monotonic()
        for executor in list(self.crew):
            # What it has and does not run has ended and is not reported yet, or waits behind something long.
            if executor.is_slow(now) and executor.busy > len(self._page.running(executor.position)):
                executor.recall()
            self._enforcement.look(executor, now)
        due = self._waiting.batches.due(now) if len(self._waiting.batches) else None
        if due is not None:
            self._distribute()
        # Where something ends now and then, what waits will have its turn, and would lose its place in line.
        if now - max(min(self._waiting.since, due or now), self._ended_at) > PATIENCE:
            self.overflowed_at = now
            self._release_waiting()
        if self.held:
            self._ticking = asyncio.get_running_loop().call_later(TICK, self._tick)

    def cancel(self, ids: Iterable[str]) -> None:
        """Do not start these tasks; ask those that run to end, if they listen. Unknown ids are none of ours."""
        self._call_off(set(ids))

    def terminate(self, signals: Mapping[str, int]) -> None:
        """Do not start these tasks; kill the executors of those that run with an OS signal, in vain ones SIGKILL."""
        self._call_off(set(signals))
        for executor in self.crew:
            executor.terminating.update((i, signals[i]) for i in signals if i in executor.outstanding)
            self._enforcement.look(executor, monotonic())

    def _call_off(self, ids: set[str]) -> None:
        if called_off := self._waiting.take_out(ids):
            self._on_outcomes([revoked(claim, "revoked") for claim in called_off])
        for executor in self.crew:
            if mine := [task_id for task_id in executor.outstanding if task_id in ids]:
                executor.abort(mine)

    def _release_waiting(self) -> None:
        if released := [Outcome.released(claim.id, claim.attempt) for claim in self._waiting.take_all()]:
            self._on_outcomes(released)

    def drain(self) -> None:
        """Start nothing more: give back what waits, let finish what runs."""
        self.stopping = self.crew.stopping = True
        self._release_waiting()
        for executor in self.crew:
            if executor.busy > self._slots:
                executor.recall()

    def interrupt(self) -> None:
        """Raise ``Interrupted`` in every task that runs."""
        for executor in self.crew:
            executor.interrupt()

    def abandon(self) -> None:
        """Kill every executor and hear nothing more of what they ran."""
        self._waiting.take_all()
        for executor in self.crew:
            executor.forget_all()
        self.kill()

    def release_running(self) -> None:
        """Give back everything that was sent to executors; outcomes they still send are not heard."""
        released = []
        for executor in self.crew:
            released += [Outcome.released(claim.id, claim.attempt) for _, claim, _ in executor.outstanding.values()]
            executor.forget_all()
        if released:
            self._on_outcomes(released)

    def kill(self) -> None:
        for executor in self.crew:
            self.crew.kill(executor)

    def stop(self) -> None:
        """Tell idle executors to end."""
        self.stopping = self.crew.stopping = True
        for executor in self.crew:
            executor.stop()

    def expired(self) -> None:
        """The watchdog kills the executors, because the lease was not renewed in time: no fault of what they run."""
        for executor in self.crew:
            executor.spared = True
        self._release_waiting()

    def closed(self, executor: ExecutorHandle) -> None:
        """The connection to an executor ended: it died, or it was told to stop."""
        if not (self.stopping and not executor.outstanding):
            self.crew.bury(executor, self._mourn)

    def _mourn(self, executor: ExecutorHandle) -> None:
        condemned = list(executor.condemned)
        lost, outcomes = executor.lost(self._page.running(executor.position))
        returned = sum(outcome.ending == Ending.RELEASED for outcome in outcomes)
        if condemned:
            events.emit(events.ExecutorKilled(executor.pid, condemned, returned))
        elif lost or not (self.stopping or executor.retired):
            how = describe_exit(executor.status)
            events.emit(events.ExecutorLost(executor.pid, how, lost[0] if lost else None, returned, len(lost)))
        if outcomes:
            self._on_outcomes(outcomes)
