"""Many tasks at once, a greenlet each: the pool ``gevent``.

In a patched process threads are greenlets, so this is the engine of threads; but errors can be raised where a task
waits, and coroutines need real threads, because an event loop takes a whole one.
"""

from __future__ import annotations

from collections.abc import Coroutine
from contextvars import copy_context
from typing import Any

from djqueue.records import Claim, Outcome
from djqueue.worker.driver import Driver
from djqueue.worker.executor import Executor

from .threads import ThreadEngine, ThreadSlot


class GreenletSlot(ThreadSlot):
    """A slot whose thread is a greenlet."""

    def __init__(self, executor: Executor, cell: int) -> None:
        import gevent
        import gevent.threadpool

        super().__init__(executor, cell)
        self._current = gevent.getcurrent
        self._later = gevent.get_hub().loop.run_callback
        self._real_thread = gevent.threadpool.ThreadPool(1)
        self._greenlet: Any = None

    def run(self, serial: int, claim: Claim) -> Outcome:
        self._greenlet = self._current()
        return super().run(serial, claim)

    def limit(self, serial: int) -> None:
        # The hub calls it when no other greenlet runs, so that nothing changes between looking and raising.
        self._later(super().limit, serial)

    def interrupt(self) -> None:
        self._later(super().interrupt)

    def _raise(self, error: type[BaseException] | None) -> None:
        if error is not None:
            self._greenlet.throw(error)

    def drive(self, coroutine: Coroutine[Any, Any, Any], task_id: str) -> Any:
        return self._real_thread.apply(copy_context().run, (self._drive, coroutine, task_id))

    def _drive(self, coroutine: Coroutine[Any, Any, Any], task_id: str) -> Any:
        # What belongs to a loop is patched, too, and belongs to the thread in which it was made.
        self.driver = driver = Driver()
        try:
            return driver.run(coroutine, task_id)
        finally:
            self.driver = None
            driver.close()


class GreenletEngine(ThreadEngine):
    """Runs tasks in greenlets."""

    slot_class = GreenletSlot
