"""What a task can know about its own run: ``self.request`` and ``current_task``."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from .definition import TaskDefinition


class Request:
    """The request context. What is not set is ``None``; outside a task only ``called_directly`` is."""

    def __init__(self, **values: Any) -> None:
        self.__dict__.update(values)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        return None

    def get(self, key: str, default: Any = None) -> Any:
        return self.__dict__.get(key, default)

    def __repr__(self) -> str:
        return f"<Request: {self.__dict__!r}>"


_NO_REQUEST = Request(called_directly=True, args=(), kwargs={}, retries=0, is_eager=False)

# Each thread and each coroutine sees the task that runs in it.
_current: ContextVar[tuple[TaskDefinition, Request] | None] = ContextVar("djqueue_current", default=None)


def current_request() -> Request:
    """Return the request of the task that runs here, or one that says that none does."""
    current = _current.get()
    return _NO_REQUEST if current is None else current[1]


def inside_task() -> bool:
    return _current.get() is not None


@contextmanager
def running(definition: TaskDefinition, request: Request) -> Iterator[None]:
    """Make a task the current one for a block of code."""
    token = _current.set((definition, request))
    try:
        yield
    finally:
        _current.reset(token)


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
