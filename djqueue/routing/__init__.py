"""What may name a queue, and which priorities there are."""

from __future__ import annotations

import re

QUEUE_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.:@/-]{0,127}")
LOWEST_PRIORITY, HIGHEST_PRIORITY = -100, 100
FRONT = "!"
"""Ends the name under which the front of a queue's line is kept: tasks there have passed their limits."""


def is_queue_name(queue: object) -> bool:
    return isinstance(queue, str) and QUEUE_NAME.fullmatch(queue) is not None


def check_queue(queue: object) -> None:
    """Raise ``ValueError`` unless ``queue`` can name a queue."""
    if not is_queue_name(queue):
        raise ValueError(
            "expected the name of a queue to be 1 to 128 letters, digits or one of _ . : @ / -, not starting with "
            f"punctuation, got: {queue!r}"
        )


def check_priority(priority: object) -> None:
    """Raise ``ValueError`` unless ``priority`` is a whole number in range."""
    if type(priority) is not int or not LOWEST_PRIORITY <= priority <= HIGHEST_PRIORITY:
        raise ValueError(
            f"expected priority to be a whole number from {LOWEST_PRIORITY} to {HIGHEST_PRIORITY} (higher first), "
            f"got: {priority!r}"
        )


def line_of(name: str) -> str:
    """Return the queue that a lane belongs to, also if it is the front of its line."""
    return name.removesuffix(FRONT)


def front_of(queue: str) -> str:
    """Return the name under which the front of a queue's line is kept."""
    return f"{queue}{FRONT}"
