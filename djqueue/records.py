"""The plain data that travels between the layers."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Any, NamedTuple

from .states import Ending, State
from .uniqueness import Unique


class Lane(NamedTuple):
    """One queue and priority, and the sequence number below which nothing is left in line."""

    queue: str
    priority: int
    floor: int = 0


class Claim(NamedTuple):
    """One attempt that this worker holds. ``args``, ``kwargs`` and ``options`` are JSON text, times are epochs.

    ``context`` is the JSON text of what few tasks have: ``parent_id root_id group_id group_index chord retries expires
    cancelled``. ``in_workflow`` says that it matters to other tasks how this one ends, ``holds_slot`` that others wait
    for the slot that it holds. ``gate`` is null: only what was parked instead names one.
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
    in_workflow: bool = False
    holds_slot: bool | None = False
    gate: str | None = None

    @property
    def concerns_others(self) -> bool:
        """Whether others can go on when it has ended."""
        return self.in_workflow or bool(self.holds_slot)


class Claims(list[Claim]):
    """What a claim brought. ``parked`` are the lanes in which tasks will stand that it met and a limit holds back."""

    parked: Collection[Lane] = ()


class Outcome(NamedTuple):
    """How an attempt ended: ``value``, ``error`` and ``retry`` are JSON text, times are epochs in seconds.

    ``grown`` is what it adds to its workflow, as JSON text (``store.grow``).
    """

    id: str
    attempt: int
    ending: Ending
    value: str | None = None
    error: str | None = None
    started: float | None = None
    finished: float = 0.0
    retry: str | None = None
    grown: str | None = None

    @property
    def others(self) -> tuple[Outcome, ...]:
        """Outcomes of the other tasks of a batch."""
        return ()

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
    def replaced(cls, id: str, attempt: int, grown: str, started: float, finished: float) -> Outcome:
        """Another takes its place, and it will end as that does."""
        return cls(id, attempt, Ending.REPLACED, None, None, started, finished, None, grown)

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

    @classmethod
    def requeued(cls, id: str, attempt: int) -> Outcome:
        """It goes back in line because it rejected itself."""
        return cls(id, attempt, Ending.REQUEUED)


class NewTask(NamedTuple):
    """A task to insert. ``args``, ``kwargs`` and ``options`` are JSON text.

    It is due at ``run_at`` or ``run_in`` seconds from now, or else at once. ``expires_at`` and ``expires_in`` likewise.
    ``stream`` is the gate of the ordered stream that it belongs to, if any; ``unique`` what it shares with no other.
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
    stream: str | None = None
    unique: Unique | None = None

    @property
    def columns(self) -> tuple[Any, ...]:
        """What is stored in its own row and its place."""
        return self[:13]


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


class Tallied(NamedTuple):
    """Attempts of one task and queue that ended in one minute since the epoch, with a histogram of their times."""

    minute: int
    name: str
    queue: str
    succeeded: int
    failed: int
    retried: int
    cancelled: int
    steps: Sequence[int]
    counts: Sequence[int]
