"""Batches: claims of one task that run in one call, from their gathering in the worker to their end in the executor."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterable
from typing import Any

from djqueue import registry
from djqueue.records import Claim, Outcome

Rules = dict[str, tuple[int, float]]
"""How many tasks a batch has at the most, and how many seconds the first waits for others, by the name of the task."""


def rules_of_all() -> Rules:
    """Return what the definitions that this process has loaded ask for."""
    definitions = [registry.get(name) for name in registry.names()]
    return {d.name: (d.batch, float(d.batch_wait)) for d in definitions if d.batch is not None}


class Batch(Claim):
    """Claims that run in one call; as a claim it is the first of them."""

    claims: tuple[Claim, ...]

    @classmethod
    def of(cls, claims: Iterable[Claim]) -> Batch:
        members = tuple(claims)
        batch = cls._make(members[0])
        batch.claims = members
        return batch


class Outcomes(Outcome):
    """What became of a batch; as an outcome it is that of the first."""

    _others: tuple[Outcome, ...] = ()

    @property
    def others(self) -> tuple[Outcome, ...]:
        return self._others

    @classmethod
    def of(cls, outcomes: Iterable[Outcome]) -> Outcomes:
        first, *others = outcomes
        made = cls._make(first)
        made._others = tuple(others)
        return made


def members(claim: Claim) -> tuple[Claim, ...]:
    """Return the claims of a batch, or the claim itself."""
    return claim.claims if isinstance(claim, Batch) else (claim,)


def released(claim: Claim) -> Outcome:
    """Return the outcome of a claim, or a batch, that goes back in line."""
    return Outcomes.of(Outcome.released(one.id, one.attempt) for one in members(claim))


class Gathering:
    """Claims that wait in the worker until there are enough of them, or the first has waited long enough."""

    def __init__(self) -> None:
        self.rules: Rules = {}
        self._lines: dict[str, deque[tuple[Claim, float]]] = {}
        self._number = 0

    def __len__(self) -> int:
        return self._number

    def add(self, claim: Claim, now: float) -> None:
        self._lines.setdefault(claim.name, deque()).append((claim, now))
        self._number += 1

    def put_back(self, claim: Claim, now: float) -> None:
        """Put a claim in front of all others of its task; it has waited already."""
        self._lines.setdefault(claim.name, deque()).appendleft((claim, now - self.rules[claim.name][1]))
        self._number += 1

    @property
    def missing(self) -> int:
        """How many more claims would fill the batches that have begun."""
        return sum(-len(line) % self.rules[name][0] for name, line in self._lines.items())

    def due(self, now: float) -> float | None:
        """Return since when the batch waits that is to run first; None if none is complete or has waited enough."""
        return min((since for _, since in self._due(now)), default=None)

    def take(self, now: float) -> list[Claim]:
        """Remove the batch that is to run first; it may be empty."""
        name, _ = min(self._due(now), key=lambda due: due[1], default=("", 0.0))
        line = self._lines.get(name, deque())
        batch = [line.popleft()[0] for _ in range(min(len(line), self.rules[name][0]))] if line else []
        self._number -= len(batch)
        self._tidy()
        return batch

    def _due(self, now: float) -> list[tuple[str, float]]:
        found = []
        for name, line in self._lines.items():
            most, wait = self.rules[name]
            full_since = line[most - 1][1] if len(line) >= most else now + 1.0
            since = min(full_since, line[0][1] + wait)
            if since <= now:
                found.append((name, since))
        return found

    def take_out(self, ids: Collection[str]) -> list[Claim]:
        """Remove those with these ids, wherever they stand."""
        found: list[Claim] = []
        for name, line in self._lines.items():
            if taken := [claim for claim, _ in line if claim.id in ids]:
                found += taken
                self._lines[name] = deque(item for item in line if item[0].id not in ids)
        self._number -= len(found)
        self._tidy()
        return found

    def take_all(self) -> list[Claim]:
        """Remove everything."""
        claims = [claim for line in self._lines.values() for claim, _ in line]
        self._lines.clear()
        self._number = 0
        return claims

    def _tidy(self) -> None:
        self._lines = {name: line for name, line in self._lines.items() if line}


def as_frame(claims: Iterable[Claim]) -> list[Any]:
    """Return claims as they travel to an executor."""
    return [tuple(claim) for claim in claims]
