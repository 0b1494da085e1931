"""What a task can know about its own run: ``self.request`` and ``current_task``."""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

from .redaction import arguments_repr

if TYPE_CHECKING:
    from .definition import TaskDefinition

# What a call may say of itself that its request repeats under the same name.
STORED = (
    "headers",
    "time_limit",
    "soft_time_limit",
    "shadow",
    "argsrepr",
    "kwargsrepr",
    "ignore_result",
    "properties",
    "stamps",
    "stamped_headers",
    "eta",
    "origin",
    "replaced_task_nesting",
)

FOLLOWING = ("chain", "callbacks")
"""What waits for the task, which is read from the database when it is asked for."""


class Request:
    """The request context. What is not set is ``None`` (``children`` a list, ``replaced_task_nesting`` 0).

    Outside a task only ``called_directly`` is set.
    """

    def __init__(self, *args: Any, **values: Any) -> None:
        self.__dict__.update(*args, **values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name in FOLLOWING and "following" in self.__dict__:
            self.__dict__.update(self.following())
            return self.__dict__[name]
        if name == "children":
            return self.__dict__.setdefault(name, [])
        return 0 if name == "replaced_task_nesting" else None

    def get(self, key: str, default: Any = None) -> Any:
        value = getattr(self, key) if key in FOLLOWING else None
        return self.__dict__.get(key, default) if value is None else value

    def update(self, *args: Any, **values: Any) -> None:
        """Change what is given; ``timelimit`` stands for both limits."""
        self.__dict__.update(*args, **values)
        if "timelimit" in self.__dict__:
            hard, soft = self.__dict__.pop("timelimit") or (None, None)
            self.__dict__.update(time_limit=hard, soft_time_limit=soft)

    def clear(self) -> None:
        self.__dict__.clear()

    def __repr__(self) -> str:
        # Tasks log their request, whose arguments may hold secrets.
        args, kwargs = arguments_repr(self.task or "", self.args or (), self.kwargs or {})
        others = {name: value for name, value in self.__dict__.items() if name not in ("args", "kwargs")}
        return f"<Request: args={args} kwargs={kwargs} {others!r}>"

    @property
    def timelimit(self) -> list[float | None]:
        """Hard and soft limit of the call, in seconds."""
        return [self.time_limit, self.soft_time_limit]

    @property
    def correlation_id(self) -> str | None:
        own_id: str | None = self.get("id")
        return own_id


def request_of(
    task: str, id: str, args: Any, kwargs: dict[str, Any], options: dict[str, Any], context: dict[str, Any]
) -> Request:
    """Return the request of an attempt from what is stored of its call and what the claim found out.

    ``context`` may hold ``parent_id``, ``root_id``, ``group_id``, ``group_index``, ``retries`` and ``expires``
    (an epoch in seconds).
    """
    request = Request(
        id=id,
        task=task,
        args=args,
        kwargs=kwargs,
        retries=0,
        root_id=id,
        parent_id=None,
        is_eager=False,
        called_directly=False,
    )
    values = request.__dict__
    if context:
        values.update(_of_context(context, id))
    if options:
        values.update((name, options[name]) for name in STORED if name in options)
        values.update(options.get("stamps") or ())
        values["errbacks"] = options.get("link_error")
    return request


def _of_context(context: dict[str, Any], id: str) -> dict[str, Any]:
    values = {
        "retries": context.get("retries", 0),
        "root_id": context.get("root_id") or id,
        "parent_id": context.get("parent_id"),
    }
    if context.get("group_id"):
        values["group"], values["group_index"] = context["group_id"], context.get("group_index")
        values["chord"] = context.get("chord") or None
    if context.get("workflow_id"):
        values["workflow_id"] = context["workflow_id"]
    if (expires := context.get("expires")) is not None:
        values["expires"] = datetime.datetime.fromtimestamp(expires, datetime.UTC).isoformat()
    return values


_NO_REQUEST = Request(called_directly=True, args=(), kwargs={}, retries=0, is_eager=False)

# Each thread and each coroutine sees the task that runs in it.
_current: ContextVar[tuple[TaskDefinition, Request] | None] = ContextVar("djqueue_current", default=None)
_below: ContextVar[tuple[tuple[TaskDefinition, Request] | None, ...]] = ContextVar("djqueue_below", default=())
_join_allowed: ContextVar[bool] = ContextVar("djqueue_join_allowed", default=False)


def current_request(definition: TaskDefinition | None = None) -> Request:
    """Return the request of the task that runs here, or one that says that none does, of the definition's own."""
    current = _current.get()
    if current is not None:
        return current[1]
    if definition is None:
        return _NO_REQUEST
    # A test may write to it, which is to concern no other task.
    own: Request = definition.__dict__.setdefault("request_outside", Request(vars(_NO_REQUEST)))
    return own


def running_request() -> Request | None:
    """Return the request of the task that runs here, or None."""
    current = _current.get()
    return None if current is None else current[1]


def push_request(definition: TaskDefinition, *args: Any, **values: Any) -> None:
    """Make a request of these values the current one until ``pop_request``; what is left out is as outside a task."""
    _below.set((*_below.get(), _current.get()))
    _current.set((definition, Request({**vars(_NO_REQUEST), **dict(*args, **values)})))


def pop_request() -> None:
    """Undo the last ``push_request`` of this thread or coroutine."""
    if not _below.get():
        raise RuntimeError("expected push_request() before pop_request()")
    *below, before = _below.get()
    _below.set(tuple(below))
    _current.set(before)


def inside_task() -> bool:
    """Whether a task runs here that must not wait for another."""
    current = _current.get()
    return current is not None and not current[1].called_directly and not _join_allowed.get()


@contextmanager
def allow_join_result() -> Iterator[None]:
    """Allow ``get()`` inside a task for a block of code."""
    token = _join_allowed.set(True)
    try:
        yield
    finally:
        _join_allowed.reset(token)


class running:
    """Make a task the current one for a block of code. As a generator it would cost each task twice as much."""

    __slots__ = ("_now", "_token")

    def __init__(self, definition: TaskDefinition, request: Request) -> None:
        self._now = definition, request

    def __enter__(self) -> None:
        self._token = _current.set(self._now)

    def __exit__(self, *_: object) -> None:
        _current.reset(self._token)


class _CurrentTask:
    """The definition of the task that runs here, as an object to import once; false where none runs."""

    def __getattr__(self, name: str) -> Any:
        current = _current.get()
        if current is None:
            if name.startswith("__"):
                raise AttributeError(name)
            return None
        return getattr(current[0], name)

    def __bool__(self) -> bool:
        return _current.get() is not None

    def __repr__(self) -> str:
        current = _current.get()
        return repr(None if current is None else current[0])


current_task = _CurrentTask()


def in_trail(options: Mapping[str, Any]) -> bool:
    """Whether what is called with these options is among the children of the task that runs here, if one does."""
    return bool(options.get("add_to_parent", True)) and (not current_task or current_task.trail)
