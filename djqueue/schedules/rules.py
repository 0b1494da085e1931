"""What a schedule may be told about lateness and overlap, and how a slot can end: as they are stored."""

from __future__ import annotations

from enum import IntEnum


class Misfire(IntEnum):
    """What becomes of slots that passed while no beat was there."""

    SKIP = 1
    ONCE = 2
    ALL = 3


class Overlap(IntEnum):
    """What becomes of a slot while the task of the slot before has not finished."""

    ALLOW = 1
    SKIP = 2
    QUEUE = 3


class Source(IntEnum):
    """Who made a schedule."""

    CODE = 1
    ADMIN = 2


class Fate(IntEnum):
    """What became of a slot."""

    ENQUEUED = 1
    SKIPPED = 2
    """The task of an earlier slot had not finished."""
    MISSED = 3
    """It had passed when a beat came; later slots up to the next run are missed with it."""
    FAILED = 4
    """The task could not be enqueued: arguments that do not fit, for example."""
    BY_HAND = 5
    """Not a slot: somebody asked for a run."""


MISFIRE_LIMIT = 100
MOST_MISFIRES = 10_000
