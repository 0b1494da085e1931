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


def with_carried(options: dict[str, Any], name: str, queue: str) -> dict[str, Any]:
    """Return the options of a call of this task with the headers that it takes along."""
    if not carriers:
        return options
    headers = {header: value for carrier in carriers for header, value in carrier(name, queue).items()}
    return {**options, "headers": {**headers, **(options.get("headers") or {})}}
