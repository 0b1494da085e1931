"""Events: what happened, as records. The core emits them; logs and metrics subscribe."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypeVar

from .records import Claim, Outcome, Tallied

logger = logging.getLogger("djqueue.events")

Event = TypeVar("Event")


@dataclass(frozen=True, slots=True)
class WorkerStarted:
    """A worker is ready to claim."""

    name: str
    queues: str
    pool: str
    concurrency: int
    tasks: int
    database: str
    listening: bool
    processes: int = 1
    given: Sequence[str] = ()
    """Options that are not defaults, each with where it comes from."""


@dataclass(frozen=True, slots=True)
class WorkerStopping:
    """A worker no longer claims. ``how`` is "drain", "soft stop", or "give up": the outcomes of what it held are not
    stored, and its tasks come back when its lease ends.
    """

    name: str
    how: str
    running: int


@dataclass(frozen=True, slots=True)
class WorkerStopped:
    """A worker has left."""

    name: str
    settled: int
    seconds: float


@dataclass(frozen=True, slots=True)
class TasksSettled:
    """A batch of attempts ended and was stored; times of the outcomes are epochs in seconds."""

    settled: Sequence[tuple[Claim, Outcome]]


@dataclass(frozen=True, slots=True)
class AttemptsCounted:
    """Sums of the attempts that ended in the last seconds were stored."""

    rows: Sequence[Tallied]


@dataclass(frozen=True, slots=True)
class OutcomesDropped:
    """Outcomes came after their leases had been reclaimed; nothing was stored."""

    ids: Sequence[str]


@dataclass(frozen=True, slots=True)
class ExecutorLost:
    """An executor died. ``task`` is an attempt it was running, if any, of ``lost`` ones; ``returned`` go back."""

    pid: int
    how: str
    task: Claim | None
    returned: int
    lost: int = 1


@dataclass(frozen=True, slots=True)
class ExecutorKilled:
    """An executor was killed because the tasks with these ids may not go on; ``returned`` others go back."""

    pid: int
    ids: Sequence[str]
    returned: int


@dataclass(frozen=True, slots=True)
class WorkerReclaimed:
    """Another worker's lease ran out and its tasks were taken back."""

    worker: str
    requeued: int
    failed: int


@dataclass(frozen=True, slots=True)
class CommandTaken:
    """This worker is asked something, or told to do something."""

    name: str
    arguments: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class PoolScaled:
    """The pool has grown or shrunk by itself, from ``before`` to ``after`` executors."""

    name: str
    before: int
    after: int
    why: str


@dataclass(frozen=True, slots=True)
class ComponentBroken:
    """A component failed; ``error`` is its traceback. It runs again in ``again_in`` seconds, if that is not None."""

    component: str
    error: str
    again_in: float | None


@dataclass(frozen=True, slots=True)
class PruningFailed:
    """Old results could not be deleted in time."""

    error: str


@dataclass(frozen=True, slots=True)
class Repaired:
    """Rows that contradicted others were removed."""

    rows: int


@dataclass(frozen=True, slots=True)
class LeaseLost:
    """This worker could not renew its lease in time and has aborted its tasks."""

    name: str
    aborted: int


@dataclass(frozen=True, slots=True)
class DatabaseLost:
    """The database does not answer; the worker waits for it."""

    purpose: str
    error: str


@dataclass(frozen=True, slots=True)
class DatabaseBack:
    """The database answers again."""

    purpose: str
    seconds: float


@dataclass(frozen=True, slots=True)
class BeatStarted:
    """A beat begins to fire schedules."""

    database: str
    listening: bool


@dataclass(frozen=True, slots=True)
class BeatStopped:
    """A beat has ended."""

    fired: int
    seconds: float


@dataclass(frozen=True, slots=True)
class SlotPassed:
    """Something became of a slot; ``fate`` is a name of ``schedules.rules.Fate``, ``late`` is in seconds."""

    schedule: str
    due_at: datetime
    fate: str
    task_id: str | None
    late: float
    note: str


@dataclass(frozen=True, slots=True)
class ScheduleBroken:
    """A schedule makes no sense, as after changes by hand; it is tried again."""

    schedule: str
    error: str


@dataclass(frozen=True, slots=True)
class SchedulesSynced:
    """Declared schedules were brought into the database; the names of those that were touched."""

    added: Sequence[str]
    changed: Sequence[str]
    retired: Sequence[str]
    taken: Sequence[str]


_subscribers: dict[type, list[Callable[[Any], object]]] = {}


def subscribe(kind: type[Event]) -> Callable[[Callable[[Event], object]], Callable[[Event], object]]:
    """Register a function to be called with every event of a kind."""

    def register(subscriber: Callable[[Event], object]) -> Callable[[Event], object]:
        _subscribers.setdefault(kind, []).append(subscriber)
        return subscriber

    return register


def emit(event: object) -> None:
    """Call the subscribers of an event. What one of them raises is logged and stops nobody."""
    for subscriber in _subscribers.get(type(event), ()):
        try:
            subscriber(event)
        except Exception:
            logger.exception("a subscriber of %s failed", type(event).__name__)
