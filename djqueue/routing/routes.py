"""Routes: ``DJQUEUE["ROUTES"]`` in all of Celery's forms, and which of them a call takes.

A route is a queue's name or a dict of options. What chooses one is

* a dict from task names, globs (``"feeds.*"``) and compiled regular expressions to routes;
* a list of such pairs, whose globs and expressions are tried in their order;
* a function ``(name, args, kwargs, options, task=None, **others)`` that returns a route or None;
* the dotted path of such a function, or of a class whose instances have a ``route_for_task`` that does the same;
* a list of all these. The first that has a route decides.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from fnmatch import translate
from functools import cached_property
from typing import Any

from django.utils.module_loading import import_string

from djqueue.calls import KEPT

from . import check_priority, check_queue
from .topics import check_routing_key

ROUTED = frozenset(["queue", "exchange", "routing_key", "priority", "expires", "serializer"]) | (
    KEPT - {"replaced_task_nesting", "add_to_parent"}
)
"""Options that a route may give."""
CHECKS = {"queue": check_queue, "routing_key": check_routing_key, "priority": check_priority}

Route = dict[str, Any]


class Routes:
    """Compiled routes. Raises ``ValueError`` or ``TypeError`` for what cannot be one; dotted paths are followed later.

    ``by_name`` says whether a route depends on nothing but the task's name.
    """

    def __init__(self, given: object = ()) -> None:
        self.given = given
        parts = [given] if isinstance(given, Mapping | str) or callable(given) else given
        if not isinstance(parts, list | tuple):
            raise TypeError(f"expected routes to be a dict, a list, a function or its dotted path, got: {given!r}")
        if parts and all(_is_pair(part) for part in parts):
            parts = [list(parts)]  # pairs without a list around them
        self._routers = [_router(part) for part in parts]
        self.by_name = all(isinstance(router, NameRoutes) for router in self._routers)

    def find(self, name: str, args: Any, kwargs: Any, options: Mapping[str, Any], task: Any) -> Route:
        """Return the options that the first route gives a call; none if no route fits.

        Raises ``ValueError`` or ``TypeError`` if a function returns what cannot be a route.
        """
        for router in self._routers:
            found = router(name, args, kwargs, dict(options), task=task)
            if found is not None:
                return found if isinstance(router, NameRoutes) else as_route(found)
        return {}

    def resolve(self) -> None:
        """Follow dotted paths now. Raises ``ImportError`` or ``TypeError``."""
        for router in self._routers:
            if isinstance(router, PathRouter):
                _ = router.function

    def __bool__(self) -> bool:
        return bool(self._routers)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Routes) and self.given == other.given

    __hash__ = None  # type: ignore[assignment]

    def __repr__(self) -> str:
        return repr(self.given)


class NameRoutes:
    """Routes by the task's name: the name itself wins over patterns, of which the first that fits does."""

    def __init__(self, pairs: Iterable[tuple[Any, Any]]) -> None:
        self._exact: dict[str, Route] = {}
        self._patterns: list[tuple[re.Pattern[str], Route]] = []
        for key, route in pairs:
            if isinstance(key, re.Pattern):
                self._patterns.append((key, as_route(route)))
            elif not isinstance(key, str):
                raise TypeError(f"expected the name of a task, a glob or a compiled pattern, got: {key!r}")
            elif "*" in key:
                self._patterns.append((re.compile(translate(key)), as_route(route)))
            else:
                self._exact[key] = as_route(route)

    def __call__(self, name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Route | None:
        found = self._exact.get(name)
        if found is None:
            found = next((route for pattern, route in self._patterns if pattern.match(name)), None)
        return found


class PathRouter:
    """A router function that is imported when it is first asked, because it may import tasks itself."""

    def __init__(self, path: str) -> None:
        if "." not in path:
            raise ValueError(f"expected the dotted path of a router function, got: {path!r}")
        self._path = path

    @cached_property
    def function(self) -> Callable[..., Any]:
        found: Any = import_string(self._path)
        if hasattr(found, "route_for_task"):
            found = (found() if isinstance(found, type) else found).route_for_task
        if not callable(found):
            raise TypeError(f"expected {self._path} to be a function, got: {found!r}")
        return found  # type: ignore[no-any-return]

    def __call__(self, name: str, args: Any, kwargs: Any, options: Any, task: Any = None) -> Any:
        return self.function(name, args, kwargs, options, task=task)


def as_route(route: object) -> Route:
    """Return a route as options. Raises ``ValueError`` or ``TypeError`` for an option that a route cannot give."""
    if isinstance(route, str):
        route = {"queue": route}
    if not isinstance(route, Mapping):
        raise TypeError(f"expected a route to be the name of a queue or a dict of options, got: {route!r}")
    for option, value in route.items():
        if option not in ROUTED:
            raise ValueError(f"expected a route to give options of {', '.join(sorted(ROUTED))}, got: {option!r}")
        if option in CHECKS and value is not None:
            CHECKS[option](value)
    return {option: value for option, value in route.items() if value is not None}


def _is_pair(part: object) -> bool:
    return (
        isinstance(part, list | tuple)
        and len(part) == 2
        and isinstance(part[0], str | re.Pattern)
        and isinstance(part[1], str | Mapping)
    )


def _router(part: Any) -> Callable[..., Any]:
    if isinstance(part, Mapping):
        return NameRoutes(part.items())
    if isinstance(part, str):
        return PathRouter(part)
    if isinstance(part, Sequence) and all(_is_pair(pair) for pair in part):
        return NameRoutes(part)
    if callable(part):
        return getattr(part, "route_for_task", part)  # type: ignore[no-any-return]
    raise TypeError(
        "expected a router to be a dict, a list of pairs, a function or its dotted path, got: "
        f"{part!r}; a pair is a task's name or pattern, and a queue or a dict of options"
    )
