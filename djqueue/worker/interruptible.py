"""Interrupting: how an error is raised in a task from outside, in a thread or in a coroutine."""

from __future__ import annotations

import asyncio
import ctypes
from collections.abc import Coroutine
from typing import Any


class Interrupted(BaseException):
    """Raised inside a task by a worker that has to stop now; the task goes back in line."""


class Interruptible(Coroutine[Any, Any, Any]):
    """A coroutine into which any error can be thrown while it waits.

    ``asyncio`` can only cancel, which also cancels what is waited for. So the task is cancelled, and on its way in the
    ``CancelledError`` is replaced. All methods belong to the event loop's thread.
    """

    def __init__(self, coroutine: Coroutine[Any, Any, Any]) -> None:
        self._coroutine = coroutine
        self._error: type[BaseException] | None = None
        self._task: asyncio.Task[Any] | None = None
        self._told: set[type[BaseException]] = set()
        self.send = coroutine.send  # type: ignore[method-assign, assignment] # spares a call for each step

    def start(self, loop: asyncio.AbstractEventLoop, context: Any) -> asyncio.Task[Any]:
        """Make a task of it."""
        self._task = loop.create_task(self, context=context)
        if self._error is not None:
            self._task.cancel()
        return self._task

    def interrupt(self, error: type[BaseException]) -> None:
        """Raise ``error`` where the coroutine waits; where it has ended, do nothing."""
        if error in self._told:
            return
        self._told.add(error)
        self._error = error
        if self._task is not None:
            self._task.cancel()

    def cancel(self) -> None:
        if self._task is not None and asyncio.CancelledError not in self._told:
            self._told.add(asyncio.CancelledError)
            self._task.cancel()

    def finish(self) -> None:
        """Take no more cancellations: the task's own code has ended."""
        self._told.add(asyncio.CancelledError)

    def calm(self) -> None:
        """Forget an error that has not been raised yet, because what was waited for did not let itself be cancelled."""
        if self._error is not None:
            self._error = None
            if self._task is not None:
                self._task.uncancel()

    def steps(self) -> bool:
        """Whether the coroutine's own code is running right now, in this thread."""
        return self._task is not None and asyncio.current_task(self._task.get_loop()) is self._task

    def send(self, value: Any) -> Any:
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        wanted = self._error
        if wanted is not None and isinstance(error[0], asyncio.CancelledError):
            self.calm()
            return self._coroutine.throw(wanted())
        return self._coroutine.throw(*error)

    def close(self) -> None:
        self._coroutine.close()

    def __await__(self) -> Any:
        return self._coroutine.__await__()


def throw_into_thread(thread: int, error: type[BaseException] | None) -> None:
    """Raise ``error`` in a thread as soon as it runs Python code again; None takes back one not yet raised."""
    ctypes.pythonapi.PyThreadState_SetAsyncExc(
        ctypes.c_ulong(thread), None if error is None else ctypes.py_object(error)
    )
