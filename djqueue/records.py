"""The plain data that travels between the layers."""

from __future__ import annotations

from enum import IntEnum
from typing import Any, NamedTuple

from .states import Ending, State


class Lane(NamedTuple):
    """One queue and priority, and the sequence number below which nothing is left in line."""

    queue: str
    priority: int
    floor: int = 0


class Claim(NamedTuple):
    """One attempt that this worker holds. ``args``, ``kwargs`` and ``options`` are JSON text, times are epochs.

    ``context`` is the JSON text of what few tasks have: ``parent_id root_id retries expires cancelled``.
    """

    id: str
    attempt: int
    name: str
    args: str
    kwargs: str
    options: str | None
    queue: str
    priority: int
    created: float
    claimed: float
    context: str | None = None


class Outcome(NamedTuple):
    """How an attempt ended: ``value``, ``error`` and ``retry`` are JSON text, times are epochs in seconds."""

    id: str
    attempt: int
    ending: Ending
    value: str | None = None
    error: str | None = None
    started: float | None = None
    finished: float = 0.0
    retry: str | None = None

    @classmethod
    def succeeded(cls, id: str, attempt: int, value: str, started: float, finished: float) -> Outcome:
        return cls(id, attempt, Ending.SUCCEEDED, value, None, started, finished)

    @classmethod
    def failed(cls, id: str, attempt: int, error: str, started: float | None, finished: float) -> Outcome:
        return cls(id, attempt, Ending.FAILED, None, error, started, finished)

    @classmethod
    def forgotten(cls, id: str, attempt: int, started: float, finished: float) -> Outcome:
        """Succeeded, and the result is ignored."""
        return cls(id, attempt, Ending.FORGOTTEN, None, None, started, finished)

    @classmethod
    def cancelled(cls, id: str, attempt: int, error: str, started: float | None, finished: float) -> Outcome:
        return cls(id, attempt, Ending.CANCELLED, None, error, started, finished)

    @classmethod
    def retried(cls, id: str, attempt: int, error: str, started: float, finished: float, retry: str) -> Outcome:
        """It runs again; ``retry`` says when, and what is changed: ``countdown args kwargs queue priority options``."""
        return cls(id, attempt, Ending.RETRIED, None, error, started, finished, retry)

    @classmethod
    def settled(cls, id: str, attempt: int, started: float, finished: float) -> Outcome:
        """It succeeded, and its own transaction has stored that."""
        return cls(id, attempt, Ending.SETTLED, None, None, started, finished)

    @classmethod
    def lost(cls, id: str, attempt: int, error: str, finished: float) -> Outcome:
        """The executor died under it."""
        return cls(id, attempt, Ending.LOST, None, error, None, finished)

    @classmethod
    def released(cls, id: str, attempt: int) -> Outcome:
        """It goes back in line, the attempt not counted."""
        return cls(id, attempt, Ending.RELEASED)


class NewTask(NamedTuple):
    """A task to insert. ``args``, ``kwargs`` and ``options`` are JSON text.

    It is due at ``run_at`` or ``run_in`` seconds from now, or else at once. ``expires_at`` and ``expires_in`` likewise.
    """

    id: str
    name: str
    queue: str
    priority: int
    args: str
    kwargs: str
    options: str | None = None
    parent_id: str | None = None
    root_id: str | None = None
    expires_at: Any = None
    expires_in: float | None = None
    run_at: Any = None
    run_in: float | None = None


class Takes(IntEnum):
    """What a waiting task takes from what it waits for."""

    VALUE = 1
    """Its result is put in front of the arguments."""
    NOTHING = 2
    """It only has to have succeeded."""
    ITS_PLACE = 3
    """The waiting task was replaced by it, does not run again and ends as it does."""


class PlannedTask(NamedTuple):
    """A task of a workflow. ``waits_for`` is the id of a task or group that must succeed first."""

    task: NewTask
    group_id: str | None = None
    group_index: int | None = None
    waits_for: str | None = None
    takes: Takes | None = None


class PlannedGroup(NamedTuple):
    """A group that something waits for: ``size`` members, and where it stands itself among the members of another."""

    id: str
    group_id: str | None
    group_index: int | None
    size: int


class StoredResult(NamedTuple):
    """What ``store.results`` reads about one task; ``value`` and ``error`` are JSON text."""

    state: int
    value: str | None
    error: str | None
    attempt: int
    worker: str
    finished_at: Any

    @property
    def celery_state(self) -> str:
        return State(self.state).celery_name
