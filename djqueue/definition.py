"""Definitions: what ``@shared_task`` makes of a function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, overload

from asgiref.sync import sync_to_async

from . import registry
from .context import Request, current_request
from .enqueue import enqueue, enqueue_many
from .results import AsyncResult
from .routing import check_priority, check_queue
from .signature_check import ArgumentCheck

# Celery's options that this release does not honour yet: refused by name, never ignored.
NOT_YET = frozenset(
    [
        "acks_late",
        "after_return",
        "before_start",
        "concurrency_key",
        "on_failure",
        "on_retry",
        "on_success",
        "transactional",
        "unique_key",
        "autoretry_for",
        "base",
        "default_retry_delay",
        "dont_autoretry_for",
        "expires",
        "max_retries",
        "pydantic",
        "rate_limit",
        "reject_on_worker_lost",
        "resultrepr_maxsize",
        "retry_backoff",
        "retry_backoff_max",
        "retry_jitter",
        "retry_kwargs",
        "retry_on_worker_lost",
        "serializer",
        "shadow_name",
        "soft_time_limit",
        "store_errors_even_if_ignored",
        "throws",
        "time_limit",
        "track_started",
        "trail",
    ]
)


class TaskDefinition:
    """A function that can be enqueued, and its options.

    Calling it runs the function here and now; ``delay`` and ``apply_async`` enqueue it. Options left out have these
    defaults; ``queue=None`` means ``DJQUEUE["DEFAULT_QUEUE"]``.
    """

    name: str
    queue: str | None = None
    priority: int = 0
    ignore_result: bool = False
    bind: bool = False
    typing: bool = True

    def __init__(self, function: Callable[..., Any], **options: Any) -> None:
        self.run = function
        self.__name__ = getattr(function, "__name__", type(function).__name__)
        self.__qualname__ = getattr(function, "__qualname__", self.__name__)
        self.__module__ = function.__module__
        self.__doc__ = function.__doc__
        self.__wrapped__ = function
        self.name = f"{function.__module__}.{self.__name__}"
        if refused := sorted(NOT_YET & options.keys()):
            raise TypeError(f"@shared_task: option {refused[0]!r} is not supported by this release of djqueue")
        if taken := sorted(option for option in options if callable(getattr(TaskDefinition, option, None))):
            raise TypeError(f"@shared_task: {taken[0]!r} is a method of definitions and cannot be an option")
        for option, value in options.items():
            setattr(self, option, value)
        if not isinstance(self.name, str) or not self.name:
            raise ValueError(f"expected the name of a task to be a non-empty string, got: {self.name!r}")
        if self.queue is not None:
            check_queue(self.queue)
        check_priority(self.priority)
        self._check_arguments = ArgumentCheck(function, bound=self.bind)

    @property
    def request(self) -> Request:
        """The context of the run that is going on in this thread or coroutine."""
        return current_request()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(self, *args, **kwargs) if self.bind else self.run(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """Enqueue a call with these arguments. The task exists once the current transaction commits."""
        if self.typing:
            self._check_arguments(args, kwargs)
        return enqueue(self.name, args, kwargs, queue=self.queue, priority=self.priority, ignored=self.ignore_result)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        countdown: float | None = None,
        eta: datetime | None = None,
        queue: str | None = None,
        priority: int | None = None,
        task_id: str | None = None,
        ignore_result: bool | None = None,
    ) -> AsyncResult:
        """Enqueue a call with options.

        ``countdown`` is in seconds and wins over ``eta``, a datetime that is taken in the current time zone if it is
        naive. Raises ``TypeError`` for arguments that the function does not take, ``EncodeError`` for values that
        cannot be stored and ``ValueError`` for a bad option or a ``task_id`` that is taken; nothing is stored then.
        """
        args, kwargs = args or (), kwargs or {}
        if isinstance(args, str | bytes) or not isinstance(args, Iterable):
            raise TypeError(f"expected args of {self.name} to be a list or tuple, got: {args!r}")
        if not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
            raise TypeError(f"expected kwargs of {self.name} to be a dict with names as keys, got: {kwargs!r}")
        args = args if isinstance(args, list | tuple) else tuple(args)
        kwargs = dict(kwargs)
        if self.typing:
            self._check_arguments(args, kwargs)
        return enqueue(
            self.name,
            args,
            kwargs,
            countdown=countdown,
            eta=eta,
            queue=self.queue if queue is None else queue,
            priority=self.priority if priority is None else priority,
            task_id=task_id,
            ignored=self.ignore_result,
            ignore_result=None if ignore_result is None else bool(ignore_result),
        )

    def delay_many(self, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[AsyncResult]:
        """Enqueue one task for each pair of args and kwargs: all of them, or none if one is refused.

        ``calls`` is read lazily. Above a few thousand tasks this is about a hundred times as fast as ``delay``.
        """
        return enqueue_many(
            self.name,
            calls,
            queue=self.queue,
            priority=self.priority,
            ignored=self.ignore_result,
            check=self._check_arguments if self.typing else None,
        )

    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult:
        """``delay`` for coroutines."""
        return await sync_to_async(self.delay)(*args, **kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult:
        """``apply_async`` for coroutines."""
        return await sync_to_async(self.apply_async)(args, kwargs, **options)

    def AsyncResult(self, task_id: str) -> AsyncResult:
        return AsyncResult(task_id)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return registry.get, (self.name,)


@overload
def shared_task(function: Callable[..., Any], /) -> TaskDefinition: ...


@overload
def shared_task(**options: Any) -> Callable[[Callable[..., Any]], TaskDefinition]: ...


def shared_task(function: Callable[..., Any] | None = None, /, **options: Any) -> Any:
    """Make a task of a function: ``@shared_task`` or ``@shared_task(queue="mail", bind=True)``.

    Options: ``name`` (default ``module.function``), ``bind`` (the definition is the first argument), ``queue``,
    ``priority`` (-100 to 100, higher first), ``ignore_result``, ``typing`` (False: arguments are not checked at the
    call). Any other keyword becomes an attribute of the definition.
    """

    def decorate(function: Callable[..., Any]) -> TaskDefinition:
        if isinstance(function, TaskDefinition):
            raise TypeError(f"@shared_task was applied to {function.name} twice")
        if not callable(function):
            raise TypeError(f"expected @shared_task to decorate a function, got: {function!r}")
        definition = TaskDefinition(function, **options)
        registry.register(definition)
        return definition

    return decorate if function is None else decorate(function)
