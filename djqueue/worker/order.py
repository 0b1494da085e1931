"""Orders: which of the queues that a worker serves it looks at first, and which priorities there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from enum import StrEnum
from time import monotonic

from djqueue.records import Claim, Lane
from djqueue.routing import line_of


class QueueOrder(StrEnum):
    """How queues share a worker that has more to do than it can."""

    STRICT = "strict"
    """An earlier entry of ``--queues`` before all later ones; queues of one entry take turns by priority."""
    ROUND_ROBIN = "round-robin"
    """All queues take turns."""
    WEIGHTED = "weighted"
    """All queues take turns, as often as their weights say."""


class Turns:
    """Whose turn it is, by smooth weighted round robin: turns are spread evenly, also those of heavy queues."""

    def __init__(self) -> None:
        self._credit: dict[str, float] = {}

    def next(self, weights: Mapping[str, int]) -> list[str]:
        """Return the queues, the one whose turn it is first. Each call is a turn."""
        credit = {queue: self._credit.get(queue, 0.0) + weight for queue, weight in weights.items()}
        order = sorted(credit, key=lambda queue: (-credit[queue], queue))
        if order:
            credit[order[0]] -= sum(weights.values())
        self._credit = credit
        return order


class Aging:
    """Lets lower priorities rise while higher ones keep a worker busy: one point for each ``seconds`` without a claim.

    It lives in the worker and asks the database nothing. A lane starves only while claims come back full, which is when
    something was left in line; a claim that was not full has emptied every lane.
    """

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._since: dict[tuple[str, int], float] = {}
        self._looked_at: Sequence[Lane] = ()

    def priority(self, lane: Lane, now: float) -> float:
        """Return the priority of a lane with what it has waited."""
        return lane.priority + (now - self._since.setdefault((line_of(lane.queue), lane.priority), now)) / self._seconds

    def looks_at(self, lanes: Sequence[Lane]) -> None:
        """These are claimed from, in this order."""
        self._looked_at = lanes

    def claimed(self, claims: Sequence[Claim], *, full: bool) -> None:
        """The last claim brought these; it is ``full`` if it left something in line."""
        if not full:
            self._since.clear()
            return
        now = monotonic()
        gave = {(claim.queue, claim.priority) for claim in claims}
        lanes = [(line_of(lane.queue), lane.priority) for lane in self._looked_at]
        # The lanes before the last that gave were empty, or are empty now.
        last = max((place for place, lane in enumerate(lanes) if lane in gave), default=-1)
        self._since.update(dict.fromkeys(lanes[: last + 1], now))
