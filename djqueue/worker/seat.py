"""Seats: what the runner of an attempt needs of the executor it runs in."""

from __future__ import annotations

from typing import Protocol


class Seat(Protocol):
    """One place in an executor where one attempt at a time runs."""

    hostname: str
    """The worker's name."""
    worker_id: int
    """The id under which the worker holds the claims it sent."""

    def begin(self, soft_limit: float | None, hard_limit: float | None) -> None:
        """Say that the attempt starts now, and how long it may take in seconds."""

    def end(self) -> None:
        """Say that user code has ended: from here on no limit and no interruption is raised in it."""

    def report(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        """Make a custom state and its JSON known to whoever asks for the task."""

    def is_aborted(self, task_id: str) -> bool:
        """Whether the task was asked to end."""
