"""Turns: ways to call, measured in blocks that alternate, so that what the machine does meanwhile hits all of them."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from .figures import median

BLOCK = 300
"""Calls in a block."""


class Cost(NamedTuple):
    """What one call takes: seconds by the clock (a durable commit included), and of this process's CPU."""

    wall: float
    cpu: float


def in_turns(ways: Mapping[str, Callable[[int], object]], blocks: int) -> dict[str, Cost]:
    """Call each way with the number of the call, in so many blocks; return the medians of its blocks."""
    found: dict[str, list[Cost]] = {name: [] for name in ways}
    names = list(ways)
    number = 0
    for turn in range(blocks + 1):
        # Each begins in its turn, in case the first has an advantage.
        for name in names[turn % len(names) :] + names[: turn % len(names)]:
            cost = _block(ways[name], number)
            number += BLOCK
            if turn:  # the first warms
                found[name].append(cost)
    return {name: Cost(median(c.wall for c in costs), median(c.cpu for c in costs)) for name, costs in found.items()}


def reported(costs: Mapping[str, Cost]) -> dict[str, Any]:
    """Return microseconds of each way, for a report."""
    return {
        **{f"{name}_us": round(cost.wall * 1e6) for name, cost in costs.items()},
        **{f"{name}_cpu_us": round(cost.cpu * 1e6) for name, cost in costs.items()},
    }


def _block(call: Callable[[int], object], first: int) -> Cost:
    wall, cpu = time.perf_counter(), time.process_time()
    for number in range(first, first + BLOCK):
        call(number)
    return Cost((time.perf_counter() - wall) / BLOCK, (time.process_time() - cpu) / BLOCK)
