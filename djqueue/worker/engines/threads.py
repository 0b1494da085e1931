"""Some tasks at once, a thread each: the pool ``threads``, and plain functions in ``asyncio``."""

from __future__ import annotations

import signal
import threading
from collections import deque
from collections.abc import Callable
from queue import Empty, SimpleQueue
from time import sleep
from typing import Generic, TypeVar

from django.db import close_old_connections

from djqueue.exceptions import SoftTimeLimitExceeded
from djqueue.records import Claim, Outcome
from djqueue.worker.batch_runner import run
from djqueue.worker.batches import released
from djqueue.worker.executor import Executor
from djqueue.worker.interruptible import Interrupted, throw_into_thread
from djqueue.worker.progress import IDLE
from djqueue.worker.slot import Slot, take

from .serial import IDLE_AFTER

Item = TypeVar("Item")


class ThreadSlot(Slot):
    """A slot whose task runs in some thread. Errors are raised there as soon as it runs Python code again.

    That the task runs is a token, too (see ``Slot``): who takes it out of ``_live`` may raise ``Interrupted``.
    """

    def __init__(self, executor: Executor, cell: int) -> None:
        super().__init__(executor, cell)
        self._thread = 0
        self._live: list[int] = []
        self._sent = True
        """Whether no error is on its way; only who may raise one says that it is."""

    def run(self, serial: int, claim: Claim) -> Outcome:
        """Run an attempt in this thread. Nothing is raised in it any more when this has returned."""
        outcome = None
        self._thread = threading.get_ident()
        try:
            try:
                self._live.append(serial)
                outcome = run(claim, self)
            finally:
                if not take(self._live, serial):
                    self._calm()
        except Interrupted:
            pass
        return outcome or released(claim)

    def limit(self, serial: int) -> None:
        """Raise ``SoftTimeLimitExceeded`` in the task with this number."""
        self._sent = False
        if self.disarm(serial):
            self._throw(SoftTimeLimitExceeded)
        self._sent = True

    def interrupt(self) -> None:
        """Raise ``Interrupted`` in the task that runs."""
        self._sent = False
        serial = self._page.serials[self.cell]
        if take(self._live, serial):
            take(self._armed, serial)
            self._throw(Interrupted)
        self._sent = True

    def _throw(self, error: type[BaseException]) -> None:
        if self.driver is not None and self.driver.running is not None:
            self.driver.throw(error)
        else:
            self._raise(error)

    def _raise(self, error: type[BaseException] | None) -> None:
        throw_into_thread(self._thread, error)

    def _calm(self) -> None:
        while not self._sent:
            sleep(0)  # another thread has taken the token, and is about to raise
        self._raise(None)


class Threads(Generic[Item]):
    """Calls ``work`` with everything that comes into a queue until ``None`` does, in as many threads as are needed.

    ``rest`` is called when a thread has had nothing to do for a while.
    """

    def __init__(
        self, queue: SimpleQueue[Item | None], most: int, work: Callable[[Item], None], rest: Callable[[], None]
    ) -> None:
        self._queue = queue
        self._most = most
        self._work = work
        self._rest = rest
        self._threads: list[threading.Thread] = []
        self._idle = threading.Semaphore(0)

    def poke(self) -> None:
        """Start more threads if what is in the queue needs them."""
        for _ in range(self._queue.qsize()):
            if len(self._threads) >= self._most:
                return
            if not self._idle.acquire(blocking=False):
                thread = threading.Thread(target=self._serve, name=f"djqueue-{len(self._threads)}", daemon=True)
                self._threads.append(thread)
                thread.start()

    def join(self) -> None:
        """Wait for the end of all threads, after ``None`` was put into the queue."""
        for thread in self._threads:
            thread.join()

    def _serve(self) -> None:
        # Threads begin with what the one has blocked that started them, and so would programs that a task starts.
        signal.pthread_sigmask(signal.SIG_SETMASK, [])
        while (item := self._next()) is not None:
            self._work(item)
        self._queue.put(None)  # for the next thread

    def _next(self) -> Item | None:
        try:
            return self._queue.get_nowait()
        except Empty:
            self._idle.release()
        try:
            return self._queue.get(timeout=IDLE_AFTER)
        except Empty:
            close_old_connections()
            self._rest()
            return self._queue.get()


class ThreadEngine:
    """Runs tasks in threads."""

    slot_class: type[ThreadSlot] = ThreadSlot

    def __init__(self, executor: Executor) -> None:
        self._executor = executor
        self._serials = executor.page.serials
        self._slots = [self.slot_class(executor, cell) for cell in executor.page.cells(executor.position)]
        self._free = deque(self._slots)
        self._threads = Threads(executor.inbox, len(self._slots), self._run, self._rest)
        self._ended = threading.Event()

    def serve(self) -> None:
        """See ``Engine``."""
        self._executor.listen(self)
        self._ended.wait()
        self._threads.join()
        self._executor.report()

    def _run(self, item: tuple[int, Claim]) -> None:
        serial, claim = item
        slot = self._free.popleft()
        self._serials[slot.cell] = serial
        self._executor.add(slot.run(serial, claim))
        self._serials[slot.cell] = IDLE
        self._free.append(slot)
        self._executor.report_soon()

    def _rest(self) -> None:
        for slot in list(self._free):
            slot.rest()

    def poke(self) -> None:
        """See ``Engine``."""
        self._threads.poke()
        if self._executor.stopping:
            self._ended.set()

    def limit(self, serial: int) -> None:
        """See ``Engine``."""
        for slot in self._slots:
            if self._serials[slot.cell] == serial:
                slot.limit(serial)

    def interrupt(self) -> None:
        """See ``Engine``."""
        for slot in self._slots:
            slot.interrupt()

    def abort(self, task_id: str) -> None:
        """See ``Engine``. A plain function asks by itself."""
        for slot in self._slots:
            slot.cancel(task_id)
