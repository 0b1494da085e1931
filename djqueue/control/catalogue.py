"""The catalogue: which commands there are, what they take, and how a site adds its own."""

from __future__ import annotations

import inspect
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, NamedTuple, TypeVar, overload

from djqueue.conf import did_you_mean

INSPECT = "inspect"
CONTROL = "control"

REQUIRED: Any = inspect.Parameter.empty

Function = TypeVar("Function", bound=Callable[..., Any])


class WorkerState(NamedTuple):
    """What a command of the site's is told of the worker that was asked."""

    hostname: str
    worker_id: int
    pid: int
    queues: str
    pool: str
    processes: int
    concurrency: int


@dataclass(frozen=True)
class Parameter:
    """One argument of a command. ``kind`` is a type that JSON has, or ``object`` for any of them."""

    name: str
    kind: type
    default: Any = REQUIRED

    def accepts(self, value: Any) -> bool:
        if value is None:
            return self.default is None or self.kind is object
        if self.kind is float:
            return isinstance(value, int | float) and not isinstance(value, bool)
        return isinstance(value, self.kind) and (self.kind is not int or not isinstance(value, bool))

    def __str__(self) -> str:
        shown = self.name if self.kind is object else f"{self.name}: {self.kind.__name__}"
        return shown if self.default is REQUIRED else f"{shown} = {self.default!r}"


@dataclass(frozen=True)
class Command:
    """A question (``inspect``) or an order (``control``).

    One with a ``function`` runs in a process of its own that has the site loaded, beside the worker; the others the
    worker itself obeys.
    """

    name: str
    kind: str
    help: str
    parameters: tuple[Parameter, ...] = ()
    function: Callable[..., Any] | None = None

    def __str__(self) -> str:
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    def bind(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        """Return all arguments by name, defaults included. Raises ``ValueError`` for what the command does not take."""
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in arguments:
            if name not in known:
                raise ValueError(f"{self.kind} command {self} takes no {name!r}")
        bound = {}
        for name, parameter in known.items():
            value = arguments.get(name, parameter.default)
            if value is REQUIRED:
                raise ValueError(f"{self.kind} command {self} needs {name!r}")
            if not parameter.accepts(value):
                raise ValueError(f"expected {name} of {self} to be {parameter.kind.__name__}, got: {value!r}")
            bound[name] = value
        return bound


def _built_in(kind: str, name: str, help: str, *parameters: Parameter) -> Command:
    return Command(name, kind, help, parameters)


_QUEUE = Parameter("queue", str)
_NUMBER = Parameter("n", int, 1)

_commands: dict[str, Command] = {
    command.name: command
    for command in (
        _built_in(INSPECT, "ping", "answer: who lives"),
        _built_in(INSPECT, "active", "tasks that run now"),
        _built_in(INSPECT, "reserved", "tasks that are claimed and have not begun"),
        _built_in(INSPECT, "scheduled", "tasks that are not due yet, in its queues", Parameter("limit", int, 100)),
        _built_in(INSPECT, "stats", "pool, counts, memory, and how long it has been running"),
        _built_in(INSPECT, "query_task", "where tasks stand that it holds", Parameter("ids", list)),
        _built_in(INSPECT, "revoked", "cancellations that wait for their task", Parameter("limit", int, 1000)),
        _built_in(INSPECT, "active_queues", "queues that it serves, and which of them are paused"),
        _built_in(INSPECT, "clock", "the time by the database's clock"),
        _built_in(CONTROL, "add_consumer", "serve another queue", _QUEUE),
        _built_in(CONTROL, "cancel_consumer", "serve a queue no longer", _QUEUE),
        _built_in(CONTROL, "pool_grow", "add executors", _NUMBER),
        _built_in(CONTROL, "pool_shrink", "take executors away; each finishes what it runs", _NUMBER),
        _built_in(
            CONTROL,
            "autoscale",
            "keep between min and max executors; max=0 ends that",
            Parameter("max", int),
            Parameter("min", int, 1),
        ),
        _built_in(
            CONTROL,
            "time_limit",
            "other time limits, in seconds, for a task that has none of its own in the call",
            Parameter("task_name", str),
            Parameter("hard", float, None),
            Parameter("soft", float, None),
        ),
        _built_in(CONTROL, "quiet", "claim nothing more and stay; on=false ends that", Parameter("on", bool, True)),
        _built_in(CONTROL, "shutdown", "drain and end"),
    )
}


def find(name: str) -> Command:
    """Return a command. Raises ``LookupError``, which names the nearest one or all."""
    try:
        return _commands[name]
    except KeyError:
        raise LookupError(f"unknown command {name!r}. {did_you_mean(name, _commands)}") from None


def commands(kind: str | None = None) -> Iterator[Command]:
    """Yield the known commands by name; those of one kind, if told."""
    for name in sorted(_commands):
        if kind in (None, _commands[name].kind):
            yield _commands[name]


@overload
def inspect_command(function: Function, /) -> Function: ...
@overload
def inspect_command(*, name: str | None = None) -> Callable[[Function], Function]: ...
def inspect_command(function: Any = None, /, *, name: str | None = None) -> Any:
    """Make a function a question that workers answer.

    It is called as ``function(state, **arguments)`` with a ``WorkerState``, in a process of its own that has the site
    loaded, on the host of each worker that is asked. What it returns must be JSON. Its docstring's first line is its
    help, its parameters and their annotations are what it takes. Put it into a module that workers load: an app's
    ``tasks`` or one in ``DJQUEUE["IMPORTS"]``. Raises ``ValueError`` for a name that is taken, ``TypeError`` for
    ``*args``.
    """
    return _decorated(INSPECT, function, name)


@overload
def control_command(function: Function, /) -> Function: ...
@overload
def control_command(*, name: str | None = None) -> Callable[[Function], Function]: ...
def control_command(function: Any = None, /, *, name: str | None = None) -> Any:
    """Make a function an order to workers; otherwise like ``inspect_command``."""
    return _decorated(CONTROL, function, name)


def _decorated(kind: str, function: Any, name: str | None) -> Any:
    if function is None:
        return lambda function: _decorated(kind, function, name)
    return register(kind, function, name)


def register(kind: str, function: Function, name: str | None = None) -> Function:
    """Add a command of the site's, and return its function."""
    called = name or function.__name__
    known = _commands.get(called)
    if known is not None and (known.function is None or known.function.__module__ != function.__module__):
        raise ValueError(f"expected a name that is free for the {kind} command, got: {called!r}")
    help = (inspect.getdoc(function) or "").partition("\n")[0]
    _commands[called] = Command(called, kind, help, _parameters(called, function), function)
    return function


def _parameters(name: str, function: Callable[..., Any]) -> tuple[Parameter, ...]:
    given = list(inspect.signature(function).parameters.values())
    hints = typing.get_type_hints(function)
    if not given:
        raise TypeError(f"expected the command {name} to take the worker's state first, got no parameter")
    for parameter in given:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD, parameter.POSITIONAL_ONLY):
            raise TypeError(f"expected the command {name} to have named parameters only, got: {parameter}")
    return tuple(
        Parameter(parameter.name, _json_kind(hints.get(parameter.name, object)), parameter.default)
        for parameter in given[1:]
    )


def _json_kind(hint: Any) -> type:
    """Return the type that a value must have; ``X | None`` is ``X``, for what may be left out."""
    given = [one for one in typing.get_args(hint) if one is not type(None)]
    if isinstance(hint, types.UnionType) or typing.get_origin(hint) is typing.Union:
        return _json_kind(given[0]) if len(given) == 1 else object
    origin = typing.get_origin(hint) or hint
    return origin if origin in (str, int, float, bool, list, dict) else object
