"""Hundreds of tasks at once on one event loop: the pool ``asyncio``. Plain functions get a thread each."""

from __future__ import annotations

import asyncio
import inspect
from collections.abc import Callable
from functools import partial
from queue import Empty, SimpleQueue

from djqueue import registry
from djqueue.exceptions import NotRegistered, SoftTimeLimitExceeded
from djqueue.records import Claim, Outcome
from djqueue.worker.batch_runner import arun
from djqueue.worker.batches import Batch, released
from djqueue.worker.driver import OrmThread
from djqueue.worker.executor import Executor
from djqueue.worker.interruptible import Interrupted, Interruptible
from djqueue.worker.progress import IDLE
from djqueue.worker.slot import Slot

from .serial import IDLE_AFTER
from .threads import Threads, ThreadSlot

ORM_THREADS = 10
"""Threads, and so database connections, that all coroutines of an executor share for what they ask of the ORM."""


class _LoopSlot(Slot):
    """A slot for a coroutine or, in a thread, for a plain function. It belongs to the event loop's thread."""

    def __init__(self, executor: Executor, cell: int, orm: OrmThread) -> None:
        super().__init__(executor, cell)
        self.orm = orm
        self.task_id = ""
        self.coroutine: Interruptible | None = None
        self.thread = ThreadSlot(executor, cell)

    def start(self, loop: asyncio.AbstractEventLoop, claim: Claim) -> asyncio.Task[Outcome]:
        """Run a coroutine function on the loop."""
        self.task_id = "" if isinstance(claim, Batch) else claim.id  # of a batch no single one is cancelled
        self.coroutine = Interruptible(arun(claim, self))
        return self.coroutine.start(loop, self.orm.context())

    def limit(self, serial: int) -> None:
        """Raise ``SoftTimeLimitExceeded`` in the task with this number, if it runs here."""
        if self._page.serials[self.cell] != serial:
            return
        if self.coroutine is None:
            self.thread.limit(serial)
        elif self.disarm(serial):
            self.coroutine.interrupt(SoftTimeLimitExceeded)

    def interrupt(self) -> None:
        """Raise ``Interrupted`` in whatever runs here."""
        if self.coroutine is None:
            self.thread.interrupt()
        else:
            self.coroutine.interrupt(Interrupted)

    def end(self) -> None:
        super().end()
        if self.coroutine is not None:
            self.coroutine.finish()

    def _calm(self) -> None:
        if self.coroutine is not None:
            self.coroutine.calm()

    def rest(self) -> None:
        self.thread.rest()
        self.orm.rest()


class CoroutineEngine:
    """Runs tasks on an event loop."""

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._serials = executor.page.serials
        cells = executor.page.cells(executor.position)
        orms = [OrmThread() for _ in range(min(ORM_THREADS, len(cells)))]
        self._slots = [_LoopSlot(executor, cell, orms[cell % len(orms)]) for cell in cells]
        self._free = list(reversed(self._slots))
        self._plain: SimpleQueue[tuple[_LoopSlot, int, Claim] | None] = SimpleQueue()
        self._threads = Threads(self._plain, len(self._slots), self._run_plain, lambda: None)
        self._loop = asyncio.new_event_loop()
        self._coroutines: dict[str, bool] = {}
        self._reporting = False
        self._resting: asyncio.TimerHandle | None = None

    def serve(self) -> None:
        """See ``Engine``."""
        asyncio.set_event_loop(self._loop)
        self._loop.call_soon(self._executor.listen, self)
        self._loop.run_forever()
        self._executor.report()

    def poke(self) -> None:
        """See ``Engine``."""
        self._loop.call_soon_threadsafe(self._fill)

    def limit(self, serial: int) -> None:
        """See ``Engine``."""
        self._loop.call_soon_threadsafe(self._each, lambda slot: slot.limit(serial))

    def interrupt(self) -> None:
        """See ``Engine``."""
        self._loop.call_soon_threadsafe(self._each, _LoopSlot.interrupt)

    def abort(self, task_id: str) -> None:
        """See ``Engine``."""
        self._loop.call_soon_threadsafe(self._abort, task_id)

    def _each(self, call: Callable[[_LoopSlot], None]) -> None:
        for slot in self._slots:
            if self._serials[slot.cell] != IDLE:
                call(slot)

    def _abort(self, task_id: str) -> None:
        for slot in self._slots:
            if slot.coroutine is not None and slot.task_id == task_id:
                slot.coroutine.cancel()

    def _fill(self) -> None:
        while self._free:
            try:
                item = self._executor.inbox.get_nowait()
            except Empty:
                break
            if item is not None:
                self._start(self._free.pop(), *item)
        if self._executor.stopping and len(self._free) == len(self._slots) and self._executor.inbox.empty():
            self._loop.stop()

    def _start(self, slot: _LoopSlot, serial: int, claim: Claim) -> None:
        if self._resting is not None:
            self._resting.cancel()
            self._resting = None
        self._serials[slot.cell] = serial
        if self._is_coroutine(claim.name):
            slot.start(self._loop, claim).add_done_callback(partial(self._done, slot, claim))
        else:
            self._plain.put((slot, serial, claim))
            self._threads.poke()

    def _is_coroutine(self, name: str) -> bool:
        known = self._coroutines.get(name)
        if known is None:
            try:
                known = inspect.iscoroutinefunction(registry.get(name).run)
            except NotRegistered:
                known = False
            self._coroutines[name] = known
        return known

    def _done(self, slot: _LoopSlot, claim: Claim, task: asyncio.Task[Outcome]) -> None:
        slot.coroutine = None
        if slot.orm.used:
            slot.orm.clean()
        try:
            outcome = task.result()
        except (Interrupted, asyncio.CancelledError):
            outcome = released(claim)
        self._ended(slot, outcome)

    def _run_plain(self, item: tuple[_LoopSlot, int, Claim]) -> None:
        slot, serial, claim = item
        outcome = slot.thread.run(serial, claim)
        self._loop.call_soon_threadsafe(self._ended, slot, outcome)

    def _ended(self, slot: _LoopSlot, outcome: Outcome) -> None:
        self._executor.add(outcome)
        self._serials[slot.cell] = IDLE
        self._free.append(slot)
        if not self._reporting:
            # What ends in the same turn of the loop goes into one frame.
            self._reporting = True
            self._loop.call_soon(self._report)

    def _report(self) -> None:
        self._reporting = False
        self._executor.report()
        self._fill()
        if len(self._free) == len(self._slots) and self._resting is None:
            self._resting = self._loop.call_later(IDLE_AFTER, self._rest)

    def _rest(self) -> None:
        self._resting = None
        for slot in self._slots:
            slot.rest()
