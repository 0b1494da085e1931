"""The definitions that this process knows, by name."""

from __future__ import annotations

import difflib
import warnings
from collections.abc import Iterator
from importlib import import_module
from typing import TYPE_CHECKING

from django.utils.module_loading import autodiscover_modules

from .conf import settings
from .exceptions import NotRegistered

if TYPE_CHECKING:
    from .definition import TaskDefinition


class DuplicateTaskNameWarning(UserWarning):
    """Two callables were given one task name; the first stays."""


_definitions: dict[str, TaskDefinition] = {}


def register(definition: TaskDefinition) -> None:
    """Make a definition known. A second callable under its name is refused with a warning."""
    first = _definitions.setdefault(definition.name, definition)
    if first is not definition and _source(first) != _source(definition):
        warnings.warn(
            f"two callables are named {definition.name!r}: {_source(first)} stays, {_source(definition)} is ignored. "
            "Give one of them another name with @shared_task(name=...).",
            DuplicateTaskNameWarning,
            stacklevel=4,
        )


def get(name: str) -> TaskDefinition:
    """Return the definition of that name. Raises ``NotRegistered``, naming the nearest name it knows."""
    try:
        return _definitions[name]
    except KeyError:
        near = difflib.get_close_matches(name, _definitions, n=1)
        hint = f" Did you mean {near[0]!r}?" if near else ""
        raise NotRegistered(
            f"no task named {name!r} is registered in this process.{hint} Tasks are found in the 'tasks' module of "
            "each installed app and in DJQUEUE['IMPORTS']."
        ) from None


def find(name: str) -> TaskDefinition | None:
    """Return the definition of that name, or None if this process knows none."""
    return _definitions.get(name)


def names() -> Iterator[str]:
    """Yield the names of all known definitions, sorted."""
    yield from sorted(_definitions)


def load_all() -> None:
    """Import every module that defines tasks. An error in one of them is raised as it is."""
    autodiscover_modules("tasks")
    for module in settings.IMPORTS:
        import_module(module)


def _source(definition: TaskDefinition) -> str:
    function = getattr(definition, "__wrapped__", type(definition))
    return f"{getattr(function, '__module__', '?')}.{getattr(function, '__qualname__', '?')}"
