"""Waiting: claimed tasks that are not with an executor yet, and how much work they are."""

from __future__ import annotations

from collections import deque
from time import monotonic

from djqueue.records import Claim

from .batches import Gathering
from .estimates import Estimates


class Waiting:
    """A line of claims. ``load`` is the work in it, in seconds by recent run times."""

    def __init__(self, estimates: Estimates) -> None:
        self.load = 0.0
        self._estimates = estimates
        self._line: deque[tuple[Claim, float, float]] = deque()
        self.batches = Gathering()

    def __len__(self) -> int:
        return len(self._line) + len(self.batches)

    @property
    def in_line(self) -> int:
        """How many there are besides those that are gathered for a batch."""
        return len(self._line)

    @property
    def since(self) -> float:
        """The monotonic time since which the first in line waits; infinitely late if there is none."""
        return self._line[0][1] if self._line else float("inf")

    def add(self, claim: Claim, now: float) -> None:
        if claim.name in self.batches.rules:
            self.batches.add(claim, now)
            return
        estimate = self._estimates.of(claim.name)
        self.load += estimate
        self._line.append((claim, now, estimate))

    def put_back(self, claims: list[Claim]) -> None:
        """Put claims in front of all others."""
        now = monotonic()
        for claim in reversed(claims):
            if claim.name in self.batches.rules:
                self.batches.put_back(claim, now)
                continue
            estimate = self._estimates.of(claim.name)
            self.load += estimate
            self._line.appendleft((claim, now, estimate))

    def first(self) -> Claim:
        return self._line[0][0]

    def take(self) -> Claim:
        """Remove the first in line."""
        claim, _, estimate = self._line.popleft()
        self.load = self.load - estimate if self._line else 0.0
        return claim

    def take_all(self) -> list[Claim]:
        claims = [item[0] for item in self._line] + self.batches.take_all()
        self._line.clear()
        self.load = 0.0
        return claims

    def take_out(self, ids: set[str]) -> list[Claim]:
        """Remove those with these ids, wherever they stand."""
        found = [item[0] for item in self._line if item[0].id in ids]
        if found:
            self._line = deque(item for item in self._line if item[0].id not in ids)
            self.load = sum(item[2] for item in self._line)
        return found + self.batches.take_out(ids)
