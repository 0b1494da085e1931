"""One task after the other in the main thread: the pools ``processes`` and ``solo``."""

from __future__ import annotations

import logging
import signal
import threading
from collections import deque
from queue import Empty
from time import monotonic
from types import FrameType

from django.db import close_old_connections

from djqueue.exceptions import SoftTimeLimitExceeded
from djqueue.records import Claim, Outcome
from djqueue.worker.batch_runner import run
from djqueue.worker.batches import released
from djqueue.worker.executor import REPORT_AFTER, Executor
from djqueue.worker.interruptible import Interrupted
from djqueue.worker.progress import IDLE
from djqueue.worker.slot import Slot

logger = logging.getLogger("djqueue.worker")

WAKE = signal.SIGUSR1
"""Makes the main thread look at its orders, also where it sleeps or waits."""
IDLE_AFTER = 1.0
"""Seconds without a task after which database connections end whose ``CONN_MAX_AGE`` is over."""


class _MainSlot(Slot):
    """Keeps errors from being raised while a frame is half written."""

    def __init__(self, executor: Executor, cell: int, engine: SerialEngine) -> None:
        super().__init__(executor, cell)
        self._engine = engine

    def begin(self, soft: float | None, hard: float | None) -> None:
        if hard is not None and self._executor.options.pool == "solo":
            logger.warning("the pool solo cannot kill a task: the time limit of %g s of this call interrupts it", hard)
        super().begin(soft, hard)

    def report(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        self._engine.shielded = True
        try:
            super().report(task_id, attempt, state, meta)
        finally:
            self._engine.shielded = False
        self._engine.look()


class SerialEngine:
    def __init__(self, executor: Executor) -> None:
        self.shielded = False
        self._executor = executor
        self._slot = _MainSlot(executor, executor.page.cells(executor.position)[0], self)
        self._interruptible = False
        self._orders: deque[int] = deque()
        self._main = threading.get_ident()

    def serve(self) -> None:
        """See ``Engine``."""
        signal.signal(WAKE, self._woken)
        self._executor.listen(self)
        executor, serials, cell = self._executor, self._executor.page.serials, self._slot.cell
        reported = monotonic()
        while (item := self._next()) is not None:
            serial, claim = item
            serials[cell] = serial
            outcome = self._run(claim)
            executor.add(outcome)
            serials[cell] = IDLE
            if executor.inbox.empty() or outcome.finished - reported > REPORT_AFTER:
                executor.report()
                reported = monotonic()
        executor.report()

    def _next(self) -> tuple[int, Claim] | None:
        try:
            return self._executor.inbox.get(timeout=IDLE_AFTER)
        except Empty:
            close_old_connections()
            self._slot.rest()
            return self._executor.inbox.get()

    def _run(self, claim: Claim) -> Outcome:
        try:
            self._interruptible = True
            outcome = run(claim, self._slot)
            self._interruptible = False
        except Interrupted:
            self._interruptible = False
            outcome = released(claim)
        return outcome

    def poke(self) -> None:
        """The main thread waits at the inbox."""

    def abort(self, task_id: str) -> None:
        """See ``Engine``. A plain function asks by itself."""
        self._slot.cancel(task_id)

    def limit(self, serial: int) -> None:
        """See ``Engine``."""
        self._order(serial)

    def interrupt(self) -> None:
        """See ``Engine``."""
        self._order(IDLE)

    def _order(self, serial: int) -> None:
        self._orders.append(serial)
        signal.pthread_kill(self._main, WAKE)

    def _woken(self, signum: int, frame: FrameType | None) -> None:
        if not self.shielded:
            self.look()

    def look(self) -> None:
        """Carry out orders: the number of a task whose soft limit has passed, or ``IDLE`` to interrupt what runs."""
        while self._orders:
            serial = self._orders.popleft()
            if serial != IDLE and self._slot.disarm(serial):
                self._raise(SoftTimeLimitExceeded)
            elif serial == IDLE and self._interruptible:
                self._interruptible = False
                self._raise(Interrupted)

    def _raise(self, error: type[BaseException]) -> None:
        driver = self._slot.driver
        # In a coroutine that waits, the error must be raised where it waits, and not in the event loop.
        if driver is None or driver.running is None or driver.running.steps():
            raise error
        driver.throw(error)
