"""Selections: which queues a worker serves, as it was asked and as its row says.

``mail=3,report*,!reports.old`` is a list of names and wildcards, in order, each with a weight, without what follows an
exclamation mark; a worker's row says ``mail=3,report*=1,-reports.old``.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase
from typing import NamedTuple

PATTERN = re.compile(r"[A-Za-z0-9_*?.:@/-]{1,128}")
WEIGHT_MOST = 1000


class Entries(NamedTuple):
    """Patterns in their order, the weight of each that has one, and what is left out."""

    patterns: tuple[str, ...]
    weights: dict[str, int]
    excluded: tuple[str, ...]


def parse(entries: Iterable[str], option: str) -> Entries:
    """Read entries of ``--queues``. Raises ``ValueError`` for one that cannot match a queue, naming ``option``."""
    patterns: list[str] = []
    weights: dict[str, int] = {}
    excluded: list[str] = []
    for entry in (entry.strip() for entry in entries):
        if not entry:
            continue
        pattern, equals, weight = entry.removeprefix("!").partition("=")
        if not PATTERN.fullmatch(pattern) or (equals and entry.startswith("!")):
            raise ValueError(f"expected {option} to hold names of queues, with * and ? as wildcards, got: {entry!r}")
        if equals and not (weight.isdecimal() and 1 <= int(weight) <= WEIGHT_MOST):
            raise ValueError(
                f"expected a weight in {option} to be a whole number from 1 to {WEIGHT_MOST}, got: {entry!r}"
            )
        if entry.startswith("!"):
            excluded.append(pattern)
            continue
        patterns.append(pattern)
        if equals:
            weights[pattern] = int(weight)
    if excluded and not patterns:
        patterns.append("*")  # all but these
    return Entries(tuple(patterns), weights, tuple(excluded))


def rank(queue: str, patterns: Iterable[str], excluded: Iterable[str]) -> int | None:
    """Return the place of the first pattern that matches a queue, or None if none does, or an exclusion does, too."""
    if any(fnmatchcase(queue, pattern) for pattern in excluded):
        return None
    return next((place for place, pattern in enumerate(patterns) if fnmatchcase(queue, pattern)), None)


def serves(described: str, queue: str) -> bool:
    """Whether a worker whose row says ``described`` serves a queue."""
    entries = described.split(",")
    patterns = [entry.partition("=")[0] for entry in entries if not entry.startswith("-")]
    return rank(queue, patterns, [entry[1:] for entry in entries if entry.startswith("-")]) is not None
