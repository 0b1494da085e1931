"""Which queues a worker serves, and in which order it looks at them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from fnmatch import fnmatchcase

from djqueue.records import Lane
from djqueue.routing import line_of

PATTERN = re.compile(r"[A-Za-z0-9_*?.:@/-]{1,128}")


class QueueSelection:
    """An ordered list of queue names and wildcards, and a list of exclusions.

    Earlier entries are served first. Queues that match one entry take turns; within a queue the higher priority
    comes first. Raises ``ValueError``, which names one of ``sources``, for a pattern that cannot match a queue.
    """

    def __init__(
        self, patterns: Iterable[str], excluded: Iterable[str] = (), sources: tuple[str, str] = ("", "")
    ) -> None:
        self.patterns = _checked(patterns, sources[0] or "--queues")
        self.excluded = _checked(excluded, sources[1] or "--exclude-queues")
        if not self.patterns:
            raise ValueError(f"expected {sources[0] or '--queues'} to name at least one queue, got none")
        self._turn = 0

    def __str__(self) -> str:
        return ",".join([*self.patterns, *(f"-{name}" for name in self.excluded)])

    def rank(self, queue: str) -> int | None:
        """Return the place of the entry that matches a queue, or None if this worker does not serve it."""
        queue = line_of(queue)
        if any(fnmatchcase(queue, pattern) for pattern in self.excluded):
            return None
        for place, pattern in enumerate(self.patterns):
            if fnmatchcase(queue, pattern):
                return place
        return None

    def add(self, queue: str) -> None:
        """Serve a queue, or those that match a pattern, after all others. Raises ``ValueError`` for what is no name."""
        (pattern,) = _checked([queue], "queue") or ("",)
        if not pattern:
            raise ValueError(f"expected queue to name a queue, got: {queue!r}")
        self.excluded = tuple(one for one in self.excluded if one != pattern)
        if pattern not in self.patterns:
            self.patterns += (pattern,)

    def cancel(self, queue: str) -> None:
        """Serve a queue, or a pattern's, no longer. Raises ``ValueError`` for one that is not served."""
        if queue not in self.patterns and self.rank(queue) is None:
            raise ValueError(f"expected queue to be one that is served ({self}), got: {queue!r}")
        self.patterns = tuple(one for one in self.patterns if one != queue)
        if self.rank(queue) is not None:
            self.excluded += _checked([queue], "queue")

    def ordered(self, lanes: Iterable[Lane], paused: Iterable[str] = ()) -> list[Lane]:
        """Return the lanes to claim from, the first to look at first; each call lets another queue begin."""
        resting = set(paused)
        ranked: dict[int, dict[str, list[Lane]]] = {}
        for lane in lanes:
            rank = self.rank(lane.queue)
            queue = line_of(lane.queue)
            if rank is not None and queue not in resting:
                ranked.setdefault(rank, {}).setdefault(queue, []).append(lane)
        self._turn += 1
        result: list[Lane] = []
        for rank in sorted(ranked):
            queues = sorted(ranked[rank])
            first = self._turn % len(queues)
            turns = {queue: place for place, queue in enumerate(queues[first:] + queues[:first])}
            result += sorted(
                (lane for queue in queues for lane in ranked[rank][queue]),
                # The front of a line has a longer name than the rest of it.
                key=lambda lane: (-lane.priority, turns[line_of(lane.queue)], -len(lane.queue)),
            )
        return result


def _checked(patterns: Iterable[str], option: str) -> tuple[str, ...]:
    checked = tuple(pattern.strip() for pattern in patterns if pattern.strip())
    for pattern in checked:
        if not PATTERN.fullmatch(pattern):
            raise ValueError(f"expected {option} to hold names of queues, with * and ? as wildcards, got: {pattern!r}")
    return checked
