"""Slots: one place in an executor where one attempt at a time runs, with its time limits."""

from __future__ import annotations

from collections.abc import Coroutine
from time import monotonic
from typing import TYPE_CHECKING, Any

from .driver import Driver
from .progress import NEVER

if TYPE_CHECKING:
    from .executor import Executor


def take(tokens: list[int], token: int) -> bool:
    """Take a token; False if it is gone."""
    try:
        tokens.remove(token)
    except ValueError:
        return False
    return True


class Slot:
    """A seat for the runner, and a cell of the progress page.

    A soft limit is a token. Whoever takes it out of ``_armed`` decides: the task by ending, or the one who raises
    ``SoftTimeLimitExceeded`` in it. Taking an item out of a list is atomic in every thread.
    """

    def __init__(self, executor: Executor, cell: int) -> None:
        self.cell = cell
        self.hostname = executor.options.hostname
        self._executor = executor
        self._page = executor.page
        self._soft = executor.options.soft_time_limit
        self._hard = executor.options.time_limit
        self._armed: list[int] = []
        self._soft_given = self._limited = False
        self.driver: Driver | None = None

    @property
    def worker_id(self) -> int:
        return self._executor.worker_id

    def begin(self, soft: float | None, hard: float | None) -> None:
        if soft is None:
            soft = self._soft
        if hard is None:
            hard = self._hard
        if soft is not None or hard is not None:
            self._limit(soft, hard)

    def _limit(self, soft: float | None, hard: float | None) -> None:
        page, cell, now = self._page, self.cell, monotonic()
        self._limited = True
        self._soft_given = soft is not None
        page.limited[self._executor.position] = 1
        page.started[cell] = now
        if hard is not None:
            page.hard[cell] = now + hard
        if soft is not None:
            self._arm()
            page.soft[cell] = now + soft

    def end(self) -> None:
        if self._limited:
            if self._soft_given and not self.disarm(self._page.serials[self.cell]):
                self._calm()
            self._page.soft[self.cell] = self._page.hard[self.cell] = NEVER
            self._limited = False

    def _arm(self) -> None:
        self._armed.append(self._page.serials[self.cell])

    def disarm(self, serial: int) -> bool:
        """Take the soft limit of the task with this number. False if it is gone: no error may be raised in it."""
        return take(self._armed, serial)

    def _calm(self) -> None:
        """Make sure that an error which is on its way does not arrive any more."""

    def report(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        self._executor.show(task_id, attempt, state, meta)

    def is_aborted(self, task_id: str) -> bool:
        return task_id in self._executor.aborted

    def drive(self, coroutine: Coroutine[Any, Any, Any], task_id: str) -> Any:
        if self.driver is None:
            self.driver = Driver()
        return self.driver.run(coroutine, task_id)

    def cancel(self, task_id: str) -> None:
        """Cancel the task's coroutine if it is driven here. Any thread may call this."""
        if self.driver is not None:
            self.driver.cancel(task_id)

    def rest(self) -> None:
        """Nothing has run for a while."""
        if self.driver is not None:
            self.driver.rest()
