"""Uniqueness as data: how long a key is held, and what a call does that finds it held."""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

LONGEST_KEY = 500


class Until(IntEnum):
    """When the task that holds a key frees it."""

    START = 1
    """When its first attempt is claimed."""
    FINISH = 2
    """When it has succeeded, failed or was cancelled."""


class Action(IntEnum):
    """What a call does while the key is held."""

    SKIP = 1
    """Nothing: its result is that of the task that holds the key."""
    REPLACE = 2
    """A task that waits takes over the arguments, the options and the time of the call."""
    ERROR = 3
    """It raises ``TaskExists``."""
    RESCHEDULE = 4
    """A task that waits takes over the time of the call."""


class Did(IntEnum):
    """What became of a call."""

    REFUSED = 0
    """Nothing, because its id is taken."""
    INSERTED = 1
    FOUND = 2
    """The key is held, and nothing was changed."""
    CHANGED = 4
    """The task that holds the key was changed."""


class Unique(NamedTuple):
    """What a call says of its uniqueness. ``period`` and ``latest`` are in seconds.

    The key is held for at least ``period``, whatever becomes of the task. A task whose time is put off again and again
    runs ``latest`` seconds after its first call.
    """

    key: str
    until: Until = Until.FINISH
    action: Action = Action.SKIP
    period: float | None = None
    latest: float | None = None


class Answer(NamedTuple):
    """What became of one call: the task that it inserted or found; ``did`` is None for what is not unique."""

    task_id: str
    did: Did | None = None
