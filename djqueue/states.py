"""Where a task can stand, and how an attempt can end.

A task's state is the table that holds its id::

    waiting ──> scheduled ──> ready ──> running ──> succeeded | failed | cancelled
                    ^           ^          │
                    └── retry ──┴─ release ┘

``ready`` has no row of its own to look up: a task that stands in no other table is ready. One that a limit holds back
had its turn in line and is waiting again (``store.gates``).
"""

from __future__ import annotations

from enum import IntEnum, StrEnum

PENDING = "PENDING"
STARTED = "STARTED"
RETRY = "RETRY"
SUCCESS = "SUCCESS"
FAILURE = "FAILURE"
REVOKED = "REVOKED"

READY_STATES = frozenset({SUCCESS, FAILURE, REVOKED})
UNREADY_STATES = frozenset({PENDING, STARTED, RETRY})
EXCEPTION_STATES = frozenset({RETRY, FAILURE, REVOKED})
PROPAGATE_STATES = frozenset({FAILURE, REVOKED})
ALL_STATES = READY_STATES | UNREADY_STATES


class State(IntEnum):
    """Where a task stands; the last three are final and are what ``TaskResult.state`` stores."""

    WAITING = 1
    SCHEDULED = 2
    READY = 3
    RUNNING = 4
    SUCCEEDED = 5
    FAILED = 6
    CANCELLED = 7

    @property
    def finished(self) -> bool:
        return self >= State.SUCCEEDED

    @property
    def celery_name(self) -> str:
        """The word ``AsyncResult.state`` uses for this state."""
        return _CELERY_NAMES[self]


_CELERY_NAMES = {
    State.WAITING: PENDING,
    State.SCHEDULED: PENDING,
    State.READY: PENDING,
    State.RUNNING: STARTED,
    State.SUCCEEDED: SUCCESS,
    State.FAILED: FAILURE,
    State.CANCELLED: REVOKED,
}


class Ending(IntEnum):
    """How one attempt ended. The first three finish the task under the same number as their state."""

    SUCCEEDED = State.SUCCEEDED
    FAILED = State.FAILED
    CANCELLED = State.CANCELLED
    FORGOTTEN = 8
    """Succeeded, and its result is ignored: nothing of the task is kept."""
    LOST = 9
    """The executor died under it: it runs again until the crash limit."""
    RELEASED = 10
    """It did not run to its end and that is not its fault: back in line, the attempt not counted."""
    RETRIED = 11
    """It asked to run again."""
    SETTLED = 12
    """It succeeded and its own transaction has settled it: there is nothing left to write."""
    REPLACED = 13
    """Another takes its place, and it waits for that."""


class ScheduleReason(IntEnum):
    """Why a task stands in ``ScheduledTask``."""

    ETA = 1
    RETRY = 2
    RATE = 3
    PAUSED = 4
    """Its name or its key is paused, until then."""


class PauseKind(StrEnum):
    """What a ``Pause`` is about."""

    TASK = "task"
    KEY = "key"
