"""Seats: what the runner of an attempt needs of the executor it runs in."""

from __future__ import annotations

from collections.abc import Coroutine
from typing import Any, Protocol


class Seat(Protocol):
    """One place in an executor where one attempt at a time runs."""

    @property
    def hostname(self) -> str:
        """The worker's name."""

    @property
    def worker_id(self) -> int:
        """The id under which the worker holds the attempt."""

    def begin(self, soft: float | None, hard: float | None) -> None:
        """Say that user code begins, and how many seconds it may take; None is for the worker's own limit."""

    def end(self) -> None:
        """Say that user code has ended: no ``SoftTimeLimitExceeded`` is raised after this has returned.

        The last one may be raised in here. Calling it again does nothing.
        """

    def report(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        """Make a custom state and its JSON known to whoever asks for the task."""

    def is_aborted(self, task_id: str) -> bool:
        """Whether the worker has said that nobody wants this task any more."""

    def drive(self, coroutine: Coroutine[Any, Any, Any], task_id: str) -> Any:
        """Run a task's coroutine to its end, in a thread that has no event loop running."""
