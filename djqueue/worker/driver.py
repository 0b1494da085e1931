"""Drivers: the event loop of a slot that runs plain functions, and the thread that serves coroutines the ORM."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import Context, copy_context
from typing import Any

from asgiref.sync import SyncToAsync, ThreadSensitiveContext
from django.db import close_old_connections, connections

from .connections import clean_connections, drop_dead_connections
from .interruptible import Interruptible


class OrmThread(ThreadPoolExecutor):
    """The thread in which ``sync_to_async``, and so Django's ORM, works for some coroutines.

    Without it all coroutines of a process would share one thread and one connection. It also knows whether it was
    used, so that only those coroutines pay for clean connections that have touched any.
    """

    def __init__(self) -> None:
        super().__init__(max_workers=1, thread_name_prefix="djqueue-orm")
        self.used = False
        self._opened = False
        self._key = ThreadSensitiveContext()
        SyncToAsync.context_to_thread_executor[self._key] = self

    def context(self) -> Context:
        """Return a copy of the current context in which ``sync_to_async`` uses this thread."""
        context = copy_context()
        context.run(SyncToAsync.thread_sensitive_context.set, self._key)
        return context

    def submit(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Future[Any]:
        if not self.used:
            self.used = self._opened = True
            super().submit(drop_dead_connections)
        return super().submit(function, *args, **kwargs)

    def clean(self) -> Future[None]:
        """Leave nothing to the next task."""
        self.used = False
        return super().submit(clean_connections)

    def rest(self) -> None:
        """Close connections that have lived long enough; nothing runs here."""
        if self._opened:
            self._opened = False
            super().submit(close_old_connections)

    def end(self) -> None:
        """Close the connections, and end the thread."""
        if self._opened:
            super().submit(connections.close_all)
        self.shutdown()


class Driver:
    """Runs one coroutine after the other on an event loop that is kept, so that what belongs to it can be, too."""

    def __init__(self) -> None:
        self.running: Interruptible | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._orm = OrmThread()
        self._task_id = ""

    def run(self, coroutine: Coroutine[Any, Any, Any], task_id: str) -> Any:
        """Run a coroutine to its end; as with ``asyncio.run``, tasks that it leaves behind are cancelled."""
        if self._loop is None:
            self._loop = asyncio.new_event_loop()
        interruptible = Interruptible(coroutine)
        self._task_id, self.running = task_id, interruptible
        try:
            return self._loop.run_until_complete(interruptible.start(self._loop, self._orm.context()))
        finally:
            self.running = None
            self._tidy(self._loop)

    def _tidy(self, loop: asyncio.AbstractEventLoop) -> None:
        if left := asyncio.all_tasks(loop):
            for task in left:
                task.cancel()
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        if self._orm.used:
            self._orm.clean().result()

    def throw(self, error: type[BaseException]) -> None:
        """Raise ``error`` in the coroutine where it waits. Any thread may call this."""
        running = self.running
        if running is not None and self._loop is not None:
            self._loop.call_soon_threadsafe(running.interrupt, error)

    def cancel(self, task_id: str) -> None:
        """Cancel the coroutine of a task, if it runs here. Any thread may call this."""
        # Read before the id: if that is the wanted one then, this is its coroutine, or one that has ended.
        running = self.running
        if running is not None and self._loop is not None and self._task_id == task_id:
            self._loop.call_soon_threadsafe(running.cancel)

    def rest(self) -> None:
        self._orm.rest()

    def close(self) -> None:
        """Give up the loop and the thread."""
        self._orm.end()
        if self._loop is not None:
            self._loop.close()
