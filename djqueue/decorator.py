"""``@shared_task``: from a function to a registered definition."""

from __future__ import annotations

from collections.abc import Callable
from functools import WRAPPER_ASSIGNMENTS
from typing import Any, overload

from . import registry
from .definition import TaskDefinition
from .options import check_given


@overload
def shared_task(function: Callable[..., Any], /) -> TaskDefinition: ...


@overload
def shared_task(**options: Any) -> Callable[[Callable[..., Any]], TaskDefinition]: ...


def shared_task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a task of a function: ``@shared_task`` or ``@shared_task(queue="mail", bind=True)``.

    Besides the attributes of ``TaskDefinition``: ``name`` (default ``module.function``), ``bind`` (the definition is
    the first argument) and ``base`` (a subclass of ``TaskDefinition``). Any other keyword becomes an attribute of the
    definition. Raises ``TypeError`` or ``ValueError`` for an option that makes no sense or is not supported.
    """

    def decorate(function: Callable[..., Any]) -> TaskDefinition:
        definition = define(function, **options)
        registry.register(definition)
        return definition

    return decorate if function is None else decorate(function)


task = shared_task


def define(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    bind: bool = False,
    base: type[TaskDefinition] | None = None,
    **options: Any,
) -> TaskDefinition:
    """Return the definition of a function: the only instance of a subclass of ``base`` that has it as ``run``."""
    if isinstance(function, TaskDefinition):
        raise TypeError(f"@shared_task was applied to {function.name} twice")
    if not callable(function):
        raise TypeError(f"expected @shared_task to decorate a function, got: {function!r}")
    base = TaskDefinition if base is None else base
    if not (isinstance(base, type) and issubclass(base, TaskDefinition)):
        raise TypeError(f"expected base to be a subclass of TaskDefinition, got: {base!r}")
    if name is not None and not (isinstance(name, str) and name):
        raise ValueError(f"expected the name of a task to be a non-empty string, got: {name!r}")
    check_given(options)
    names = {what: getattr(function, what) for what in WRAPPER_ASSIGNMENTS if hasattr(function, what)}
    names.setdefault("__name__", type(function).__name__)
    namespace: dict[str, Any] = {
        **options,
        **{what: names[what] for what in ("__module__", "__doc__", "__qualname__") if what in names},
        "run": function if bind else staticmethod(function),
        "bind": bind,
        "name": name or f"{function.__module__}.{names['__name__']}",
    }
    definition: TaskDefinition = type(names["__name__"], (base,), namespace)()
    # As of functools.wraps: what looks at functions finds the function.
    for attribute, value in names.items():
        if attribute not in ("__type_params__", "__annotations__"):
            setattr(definition, attribute, value)
    definition.__dict__["__wrapped__"] = function
    return definition.prepare()


def register_task(definition: TaskDefinition | type[TaskDefinition]) -> TaskDefinition:
    """Register a class-based definition, which has one instance in each process, and return that."""
    if isinstance(definition, type):
        definition = definition()
    if not isinstance(definition, TaskDefinition):
        raise TypeError(f"expected register_task to get a TaskDefinition, got: {definition!r}")
    registry.register(definition.prepare())
    return definition
