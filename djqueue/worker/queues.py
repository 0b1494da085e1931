"""Which queues a worker serves, and in which order it looks at them."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from time import monotonic

from djqueue.records import Claim, Lane
from djqueue.routing import line_of, selection
from djqueue.routing.broadcasts import split

from .order import Aging, QueueOrder, Turns


class QueueSelection:
    """An ordered list of queue names and wildcards, and a list of exclusions.

    Within a queue the higher priority comes first. Of ``broadcasts`` it serves the line that is its own, once
    ``worker_id`` is known. Raises ``ValueError``, which names one of ``sources``, for a pattern that matches no queue.
    """

    def __init__(
        self,
        patterns: Iterable[str],
        excluded: Iterable[str] = (),
        sources: tuple[str, str] = ("", ""),
        *,
        order: str = QueueOrder.STRICT,
        aging: float | None = None,
        broadcasts: Collection[str] = (),
    ) -> None:
        source = sources[0] or "--queues"
        entries = selection.parse(patterns, source)
        left_out = selection.parse(excluded, sources[1] or "--exclude-queues")
        if left_out.weights or left_out.excluded:
            raise ValueError(f"expected {sources[1] or '--exclude-queues'} to hold names of queues only")
        if not entries.patterns:
            raise ValueError(f"expected {source} to name at least one queue, got none")
        if entries.weights and order != QueueOrder.WEIGHTED:
            raise ValueError(f"expected weights in {source} only with --queue-order weighted, got: {order}")
        self.patterns, self.weights = entries.patterns, entries.weights
        self.excluded = (*entries.excluded, *left_out.patterns)
        self.order = QueueOrder(order)
        self.aging = None if aging is None else Aging(aging)
        self.worker_id = 0
        self._broadcasts = frozenset(broadcasts)
        self._turns = Turns()
        self._turn = 0

    def __str__(self) -> str:
        patterns = (f"{name}={self.weights[name]}" if name in self.weights else name for name in self.patterns)
        return ",".join([*patterns, *(f"-{name}" for name in self.excluded)])

    def rank(self, queue: str) -> int | None:
        """Return the place of the entry that matches a queue, or None if this worker does not serve it."""
        queue, worker_id = split(line_of(queue), self._broadcasts)
        if worker_id is not None and worker_id != self.worker_id:
            return None
        return selection.rank(queue, self.patterns, self.excluded)

    def add(self, queue: str) -> None:
        """Serve a queue, or those that match a pattern, after all others. Raises ``ValueError`` for what is no name."""
        pattern = _pattern(queue)
        self.excluded = tuple(one for one in self.excluded if one != pattern)
        if pattern not in self.patterns:
            self.patterns += (pattern,)

    def cancel(self, queue: str) -> None:
        """Serve a queue, or a pattern's, no longer. Raises ``ValueError`` for one that is not served."""
        if queue not in self.patterns and self.rank(queue) is None:
            raise ValueError(f"expected queue to be one that is served ({self}), got: {queue!r}")
        self.patterns = tuple(one for one in self.patterns if one != queue)
        if self.rank(queue) is not None:
            self.excluded += (_pattern(queue),)

    def ordered(self, lanes: Iterable[Lane], paused: Iterable[str] = ()) -> list[Lane]:
        """Return the lanes to claim from, the first to look at first; each call lets another queue begin."""
        resting = set(paused)
        ranked: dict[int, dict[str, list[Lane]]] = {}
        for lane in lanes:
            rank = self.rank(lane.queue)
            queue = line_of(lane.queue)
            if rank is not None and split(queue, self._broadcasts)[0] not in resting:
                ranked.setdefault(rank, {}).setdefault(queue, []).append(lane)
        self._turn += 1
        result = self._strictly(ranked) if self.order == QueueOrder.STRICT else self._by_turns(ranked)
        if self.aging is not None:
            self.aging.looks_at(result)
        return result

    def claimed(self, claims: Sequence[Claim], *, full: bool) -> None:
        """The last claim brought these; it was ``full`` if more may be in line."""
        if self.aging is not None:
            self.aging.claimed(claims, full=full)

    def _strictly(self, ranked: dict[int, dict[str, list[Lane]]]) -> list[Lane]:
        now = monotonic()
        result: list[Lane] = []
        for rank in sorted(ranked):
            queues = sorted(ranked[rank])
            first = self._turn % len(queues)
            turns = {queue: place for place, queue in enumerate(queues[first:] + queues[:first])}
            result += sorted(
                (lane for queue in queues for lane in ranked[rank][queue]),
                # The front of a line has a longer name than the rest of it.
                key=lambda lane: (-self._priority(lane, now), turns[line_of(lane.queue)], -len(lane.queue)),
            )
        return result

    def _by_turns(self, ranked: dict[int, dict[str, list[Lane]]]) -> list[Lane]:
        now = monotonic()
        by_queue = {queue: lanes for queues in ranked.values() for queue, lanes in queues.items()}
        weights = {
            queue: self.weights.get(self.patterns[rank], 1) if self.order == QueueOrder.WEIGHTED else 1
            for rank, queues in ranked.items()
            for queue in queues
        }
        return [
            lane
            for queue in self._turns.next(weights)
            for lane in sorted(by_queue[queue], key=lambda lane: (-self._priority(lane, now), -len(lane.queue)))
        ]

    def _priority(self, lane: Lane, now: float) -> float:
        return lane.priority if self.aging is None else self.aging.priority(lane, now)


def _pattern(queue: str) -> str:
    entries = selection.parse([queue], "queue")
    if len(entries.patterns) != 1 or entries.weights or entries.excluded:
        raise ValueError(f"expected queue to name a queue, got: {queue!r}")
    return entries.patterns[0]
