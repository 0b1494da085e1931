"""Handed on: what the database makes of results that a later step of a workflow gets (``store.values``).

Where all is plain JSON, a result simply stands in front of the arguments, and those of a group are a list. What is
wrapped the database cannot open, so it puts it beside the arguments, and the results of a group into an object::

    {"__previous__": <a result>, "args": <arguments>}
    {"__results__": [<a result>, ...]}
"""

from __future__ import annotations

import json
from typing import Any

from .wrappers import WRAPPER, describe_wrapper, is_wrapper, unwrap

PREVIOUS = "__previous__"
RESULTS = "__results__"


def is_with_previous(stored: object) -> bool:
    return isinstance(stored, dict) and stored.keys() == {PREVIOUS, "args"}


def is_list_of_results(stored: object) -> bool:
    return isinstance(stored, dict) and stored.keys() == {RESULTS} and isinstance(stored[RESULTS], list)


def special(text: str) -> bool:
    """Whether the JSON text of a result is more than plain JSON: a wrapper, or the results of a group with one."""
    if not text.startswith("{") or (WRAPPER not in text and f'"{RESULTS}"' not in text):
        return False
    stored = json.loads(text)
    return is_wrapper(stored) or is_list_of_results(stored)


def opened(stored: Any) -> Any:
    """Return the value of a stored result. Raises what ``unwrap`` raises."""
    if is_wrapper(stored):
        return unwrap(stored)
    if is_list_of_results(stored):
        return [opened(one) for one in stored[RESULTS]]
    return stored


def describe(stored: object) -> str | None:
    """Return what to show of a column's value instead of a wrapper; None if there is none in it."""
    return next((text for part in _parts(stored) if (text := describe_wrapper(part))), None)


def _parts(stored: Any) -> list[Any]:
    if is_with_previous(stored):
        return [*_parts(stored["args"]), *_parts(stored[PREVIOUS])]
    if is_list_of_results(stored):
        return [part for one in stored[RESULTS] for part in _parts(one)]
    return [stored]
