"""The normal form of a canvas: steps to be done one after the other, each of them a task or a fork."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from .data import SignatureData


class Leaf(NamedTuple):
    """One task."""

    sig: SignatureData


class Fork(NamedTuple):
    """Sequences that are done at the same time; the next step gets the list of their results.

    ``sig`` is the group that it comes from, whose id is the fork's.
    """

    sig: SignatureData
    members: list[list[Step]]


Step = Leaf | Fork


def in_sequence(parts: Iterable[SignatureData]) -> list[Step]:
    """Return the steps of parts that follow each other.

    A group without members is passed over. One with a single member that follows something is that member: what comes
    after it gets the value itself.
    """
    steps: list[Step] = []
    for part in parts:
        found = part.steps()
        match found:
            case [Fork(_, [])] if part.subtask_type != "chord":
                continue
            case [Fork(sig, [only])] if steps and sig is part:
                found = only
        steps += found
    return steps


def side_by_side(parts: Iterable[SignatureData]) -> list[list[Step]]:
    """Return the sequences of a group's members; a group among them counts as its members, and nothing as nothing."""
    members: list[list[Step]] = []
    for part in parts:
        match part.steps():
            case []:
                continue
            case [Fork(sig, inner)] if sig is part:
                members += inner
            case steps:
                members.append(steps)
    return members


def size(steps: list[Step]) -> int:
    """Return how many results a sequence contributes to the header of a chord."""
    match steps:
        case []:
            return 0
        case [*_, Fork(_, members)]:
            return sum(size(member) for member in members)
        case _:
            return 1
