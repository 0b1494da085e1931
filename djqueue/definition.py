"""Definitions: what ``@shared_task`` makes of a function."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from functools import cached_property
from typing import Any, ClassVar

from asgiref.sync import sync_to_async

from . import registry
from .calls import LINKING, check_arguments, check_call_limits
from .canvas import Chain, Signature
from .canvas.data import given
from .canvas.links import eager_links
from .canvas.methods import CanvasMethods
from .conf import settings
from .context import Request, current_request
from .eager import EagerResult, apply_eagerly
from .enqueue import call, enqueue_many
from .exceptions import MaxRetriesExceededError
from .hooks import Hooks
from .limits import LIMITS, Limits
from .options import HOOKS, check_options
from .results import AsyncResult
from .retrying import plan_retry
from .signature_check import ArgumentCheck
from .typed_arguments import TypedArguments
from .updates import update_state


def _takes_anything(*args: Any, **kwargs: Any) -> None:
    """Stands for the function of a batch, whose parameters say nothing about the arguments of a call."""


class TaskDefinition(CanvasMethods, Hooks):
    """A function that can be enqueued, and its options.

    Calling it runs the function here and now; ``delay`` and ``apply_async`` enqueue it. Options left out have these
    defaults, and a subclass, given to ``@shared_task(base=...)``, has its own. ``queue=None`` means
    ``DJQUEUE["DEFAULT_QUEUE"]``. Times are in seconds.

    A class can also be a definition by itself: give it a ``run`` method and pass an instance to ``register_task``.
    """

    name: str = ""
    queue: str | None = None
    exchange: str | None = None
    routing_key: str | None = None
    priority: int = 0
    unique: bool = False
    unique_key: str | None = None
    unique_until: str | None = None
    unique_for: float | None = None
    unique_action: str | None = None
    debounce: float | None = None
    debounce_max: float | None = None
    batch: int | None = None
    batch_wait: float = 0.5
    expires: float | datetime | None = None
    ignore_result: bool = False
    store_errors_even_if_ignored: bool = False
    typing: bool = True
    serializer: str | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    rate_limit: str | float | None = None
    rate_key: str | None = None
    rate_strict: bool = False
    concurrency_key: str | None = None
    concurrency_limit: int | None = None
    concurrency_ordered: bool = False
    max_retries: int | None = 3
    default_retry_delay: float = 180
    autoretry_for: Sequence[type[BaseException]] = ()
    dont_autoretry_for: Sequence[type[BaseException]] = ()
    retry_kwargs: Mapping[str, Any] = {}
    retry_backoff: bool | float = False
    retry_backoff_max: float = 600
    retry_jitter: bool = True
    throws: Sequence[type[BaseException]] = ()
    acks_late: bool = True
    reject_on_worker_lost: bool = True
    retry_on_worker_lost: bool = True
    transactional: bool = False
    track_started: bool = True
    trail: bool = True
    resultrepr_maxsize: int = 1024
    pydantic: bool = False
    pydantic_strict: bool = False
    pydantic_context: Mapping[str, Any] | None = None
    pydantic_dump_kwargs: Mapping[str, Any] | None = None
    schedule: Any = None

    MaxRetriesExceededError: ClassVar[type[Exception]] = MaxRetriesExceededError

    def run(self, *args: Any, **kwargs: Any) -> Any:
        """The function itself."""
        raise NotImplementedError(f"expected the task {type(self).__name__} to define run()")

    def prepare(self) -> TaskDefinition:
        """Give the task its name and check its options. Raises ``TypeError`` or ``ValueError``."""
        if not self.name:
            self.name = f"{type(self).__module__}.{type(self).__name__}"
        if self.batch is not None:
            self.typing = False  # the function gets requests, whatever their arguments are
        check_options(self)
        _ = self.typed_arguments, self.limits  # made now, so that options which cannot be are refused here
        return self

    @cached_property
    def overridden(self) -> frozenset[str]:
        """The hooks that a subclass has defined."""
        return frozenset(name for name in HOOKS if getattr(type(self), name) is not getattr(TaskDefinition, name))

    @cached_property
    def at_most_once(self) -> bool:
        """Whether it fails when its executor is lost, instead of running again."""
        return not (self.acks_late and self.reject_on_worker_lost and self.retry_on_worker_lost)

    def states(self, option: str) -> bool:
        """Whether the value of an option is the definition's own, or that of a subclass, and not the default."""
        kinds, default = type(self).__mro__, getattr(TaskDefinition, option, None)
        if any(option in vars(kind) for kind in kinds[: kinds.index(TaskDefinition)]):
            return True
        return bool(vars(self).get(option, default) != default)

    def has_hook(self, name: str) -> bool:
        return name in self.overridden

    @cached_property
    def check_call(self) -> ArgumentCheck:
        """Raises ``TypeError`` for arguments that the function does not take."""
        return ArgumentCheck(self.run)

    @cached_property
    def typed_arguments(self) -> TypedArguments:
        """Converts arguments and results whose annotations ask for it."""
        return TypedArguments(
            self.run if self.batch is None else _takes_anything,
            name=self.name,
            pydantic=self.pydantic,
            pydantic_strict=self.pydantic_strict,
            pydantic_context=self.pydantic_context,
            pydantic_dump_kwargs=self.pydantic_dump_kwargs,
        )

    @cached_property
    def limits(self) -> Limits:
        called = self.check_call if self.batch is None else ArgumentCheck(_takes_anything)
        return Limits(self.name, called.signature, {option: getattr(self, option) for option in LIMITS})

    @property
    def request(self) -> Request:
        """The context of the run that is going on in this thread or coroutine."""
        return current_request()

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        return self.run(*args, **kwargs)

    def delay(self, *args: Any, **kwargs: Any) -> AsyncResult | EagerResult:
        """Enqueue a call with these arguments. The task exists once the current transaction commits."""
        return self.apply_async(args, kwargs)

    def apply_async(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        task_id: str | None = None,
        **options: Any,
    ) -> AsyncResult | EagerResult:
        """Enqueue a call with options.

        ``countdown`` (seconds) wins over ``eta`` (a datetime, in the current time zone if it is naive). ``expires`` is
        in seconds from now or a datetime. ``link`` and ``link_error`` are signatures; ``chain`` is a list of those that
        follow, the next one last, and ``chord`` the body that gets the value in a list. Others: ``queue priority
        ignore_result headers time_limit soft_time_limit serializer shadow argsrepr kwargsrepr add_to_parent
        stamped_headers``; what is not an option can be read in ``request.properties``. Raises ``TypeError`` for
        arguments that the function does not take or whose annotations say otherwise, ``EncodeError`` for values that
        cannot be stored and ``ValueError`` for a bad option or a ``task_id`` that is taken; nothing is stored then.
        """
        args, kwargs = check_arguments(self.name, args, kwargs)
        if self.typing:
            self.check_call(args, kwargs)
        if options:
            check_call_limits(self, options)
        if settings.ALWAYS_EAGER and options.get("chain") is None and options.get("chord") is None:
            return self.apply(args, kwargs, task_id=task_id, **options)
        if options and not LINKING.isdisjoint(options):
            asked = given({**options, "task_id": task_id})
            linked: AsyncResult = Chain.called(Signature(self, args, kwargs), asked)
            return linked
        return call(self, args, kwargs, task_id, options)

    def apply(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        *,
        task_id: str | None = None,
        throw: bool | None = None,
        retries: int = 0,
        before: int = 0,
        **options: Any,
    ) -> EagerResult:
        """Run the task here and now as a worker would, hooks, retries and all, and return an ``EagerResult``.

        Needs no database. ``throw`` raises what the task raised (default: ``DJQUEUE["EAGER_PROPAGATES"]``).
        The first ``before`` arguments are results of earlier tasks, which are not checked against annotations.
        """
        args, kwargs = check_arguments(self.name, args, kwargs)
        return apply_eagerly(
            self,
            args,
            kwargs,
            task_id=task_id,
            throw=throw,
            retries=retries,
            linked=eager_links(options),
            options=options,
            before=before,
        )

    def add_trail(self, result: Any) -> Any:
        """Add a result to the ``children`` of the task that runs here, unless ``trail`` is off."""
        if self.trail:
            self.request.__dict__.setdefault("children", []).append(result)
        return result

    def retry(
        self,
        args: Sequence[Any] | None = None,
        kwargs: Mapping[str, Any] | None = None,
        exc: BaseException | None = None,
        throw: bool = True,
        eta: datetime | None = None,
        countdown: float | None = None,
        max_retries: int | None = None,
        **options: Any,
    ) -> Any:
        """Run the task again under the same id, by default in ``default_retry_delay`` seconds.

        Raises ``Retry``, so control leaves the function, unless ``throw`` is false. ``args`` and ``kwargs`` replace
        those of the call. After ``max_retries`` retries raises ``exc``, else the current exception, else
        ``MaxRetriesExceededError``.
        """
        retry = plan_retry(
            self,
            self.request,
            args=args,
            kwargs=kwargs,
            exc=exc,
            eta=eta,
            countdown=countdown,
            max_retries=max_retries,
            options=options,
        )
        if throw:
            raise retry from exc
        return retry

    def update_state(
        self, task_id: str | None = None, state: str | None = None, meta: Any = None, **kwargs: Any
    ) -> None:
        """Show a state of the task's own, such as PROGRESS, and ``meta`` with it, until the task has ended."""
        update_state(self.request, task_id, state, meta)

    def is_aborted(self, **kwargs: Any) -> bool:
        """Whether somebody asked this task to end (``AsyncResult.revoke``)."""
        asked = self.request.is_aborted
        return bool(asked and asked())

    def delay_many(self, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]) -> list[AsyncResult]:
        """Enqueue one task for each pair of args and kwargs: all of them, or none if one is refused.

        ``calls`` is read lazily. Above a few thousand tasks this is about a hundred times as fast as ``delay``.
        """
        return enqueue_many(self, calls)

    async def adelay(self, *args: Any, **kwargs: Any) -> AsyncResult | EagerResult:
        """``delay`` for coroutines."""
        return await sync_to_async(self.delay)(*args, **kwargs)

    async def aapply_async(
        self, args: Sequence[Any] | None = None, kwargs: Mapping[str, Any] | None = None, **options: Any
    ) -> AsyncResult | EagerResult:
        """``apply_async`` for coroutines."""
        return await sync_to_async(self.apply_async)(args, kwargs, **options)

    def AsyncResult(self, task_id: str) -> AsyncResult:
        return AsyncResult(task_id)

    def __repr__(self) -> str:
        return f"<@task: {self.name}>"

    def __reduce__(self) -> tuple[Any, ...]:
        return registry.get, (self.name,)
