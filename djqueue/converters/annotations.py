"""Annotations of functions and classes as types, one by one: a name that cannot be resolved spoils only its own."""

from __future__ import annotations

import functools
import inspect
import sys
import types
import typing
from collections.abc import Callable, Mapping
from typing import Any

if sys.version_info >= (3, 14):
    from annotationlib import Format, get_annotations

    def _written(thing: Any) -> Mapping[str, Any]:
        return get_annotations(thing, format=Format.FORWARDREF)

else:

    def _written(thing: Any) -> Mapping[str, Any]:
        return inspect.get_annotations(thing)


def of_function(function: Callable[..., Any]) -> dict[str, Any]:
    """Return the types of a function's parameters and of what it returns, of those that can be resolved now."""
    while isinstance(function, functools.partial):
        function = function.func
    function = inspect.unwrap(function)
    if not hasattr(function, "__globals__") and not hasattr(function, "__func__"):
        function = type(function).__call__  # an object that can be called
    function = getattr(function, "__func__", function)
    return _resolved(function, getattr(function, "__globals__", {}), {})


def of_class(kind: type) -> dict[str, Any]:
    """Return the types of a class's fields, inherited ones too, each resolved where its class was defined."""
    found: dict[str, Any] = {}
    for base in reversed(kind.__mro__[:-1]):
        names = vars(sys.modules[base.__module__]) if base.__module__ in sys.modules else {}
        found.update(_resolved(base, names, {base.__name__: base}))
    return found


def _resolved(thing: Any, names: Mapping[str, Any], own: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for name, written in _written(thing).items():
        # get_type_hints gives up altogether where one name exists for type checkers only.
        alone = types.SimpleNamespace(__annotations__={name: written}, __type_params__=_type_parameters(thing))
        try:
            found[name] = typing.get_type_hints(alone, dict(names), dict(own) or None)[name]
        except Exception:  # noqa: S112 - whatever evaluating a line of the user's raises
            continue
    return found


def _type_parameters(thing: Any) -> tuple[Any, ...]:
    parameters: tuple[Any, ...] = getattr(thing, "__type_params__", ())
    return parameters
