"""Seats: what the runner of an attempt needs of the executor it runs in."""

from __future__ import annotations

from typing import Protocol


class Seat(Protocol):
    """One place in an executor where one attempt at a time runs."""

    hostname: str
    """The worker's name."""

    def report(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        """Make a custom state and its JSON known to whoever asks for the task."""
