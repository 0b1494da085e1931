"""Carried: headers that every call of this process takes along, such as the context of a trace."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

Carrier = Callable[[str, str], Mapping[str, str]]
"""Is called with the name of a task and its queue, and returns headers."""

carriers: list[Carrier] = []


def carry(carrier: Carrier) -> Carrier:
    """Have calls take along what this function returns, from now on. Headers of the call itself win."""
    if carrier not in carriers:
        carriers.append(carrier)
    return carrier


def carried(name: str, queue: str) -> dict[str, Any]:
    """Return the option ``headers`` that a call of this task takes along, or nothing."""
    if not carriers:
        return {}
    return {"headers": {header: value for carrier in carriers for header, value in carrier(name, queue).items()}}
