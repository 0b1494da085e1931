"""Retrying: what ``self.retry()`` decides, and what the attempt's outcome carries of it."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils import timezone

from .backoff import backoff
from .calls import aware, check_arguments, check_countdown, check_retry_options
from .exceptions import Ignore, MaxRetriesExceededError, Reject, Retry
from .redaction import redact_arguments
from .serializers import encode_arguments

if TYPE_CHECKING:
    from .context import Request
    from .definition import TaskDefinition


class RetryPlan(NamedTuple):
    """When the task runs again, in seconds from now, and what is changed about it.

    ``arguments`` are the new JSON texts of both their columns, None if they stay; ``options`` those of ``apply_async``.
    """

    countdown: float
    arguments: tuple[str, str] | None
    options: dict[str, Any]


def plan_retry(
    definition: TaskDefinition,
    request: Request,
    *,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    exc: BaseException | type[BaseException] | None,
    eta: datetime.datetime | None,
    countdown: float | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """Return the ``Retry`` that asks for another attempt, and note the plan in the request.

    Raises ``exc``, the current exception or ``MaxRetriesExceededError`` if the task was retried as often as it may be,
    or if no task runs here; for changed arguments what ``apply_async`` raises.
    """
    if isinstance(exc, type) and issubclass(exc, BaseException):
        exc = exc()
    if request.called_directly:
        raise _cause(exc) or Retry("Task can be retried", None)
    if max_retries is not None:
        request.update(override_max_retries=max_retries)  # also for autoretry, which sees what is raised here
    most = definition.max_retries if max_retries is None else max_retries
    if most is not None and request.retries >= most:
        raise _cause(exc) or _exceeded(definition, request)
    check_retry_options(definition.name, options)
    if countdown is None and eta is not None:
        when: Any = aware(eta)
        seconds = float((when - timezone.now()).total_seconds())
    else:
        when = definition.default_retry_delay if countdown is None else countdown
        seconds = check_countdown(when)
    arguments = None
    if args is not None or kwargs is not None or options.get("serializer") is not None:
        arguments = _changed(definition, request, args, kwargs, options.get("serializer"))
    request.update(retry_plan=RetryPlan(seconds, arguments, options))
    return Retry(exc=exc, when=when, is_eager=request.is_eager)


def _changed(
    definition: TaskDefinition,
    request: Request,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    serializer: str | None,
) -> tuple[str, str]:
    # Both, as either may be wrapped together with the other.
    given = check_arguments(
        definition.name, request.args if args is None else args, request.kwargs if kwargs is None else kwargs
    )
    if definition.typing:
        definition.check_call(*given)
    stored, named = definition.typed_arguments.encode(*given)
    return encode_arguments(definition.name, stored, named, serializer or definition.serializer)


def _cause(exc: BaseException | None) -> BaseException | None:
    """Return the error to blame: the one given, else the one that is being handled."""
    return exc if isinstance(exc, BaseException) else sys.exc_info()[1]


def _exceeded(definition: TaskDefinition, request: Request) -> MaxRetriesExceededError:
    args, kwargs = redact_arguments(definition.name, request.args, request.kwargs)
    return MaxRetriesExceededError(
        f"Can't retry {definition.name}[{request.id}] args:{args} kwargs:{kwargs}",
        task_args=request.args,
        task_kwargs=request.kwargs,
    )


def wants_autoretry(definition: TaskDefinition, error: BaseException) -> bool:
    """Whether the definition retries this error by itself."""
    wanted = tuple(definition.autoretry_for)
    if not wanted or isinstance(error, Retry | Ignore | Reject) or not isinstance(error, wanted):
        return False
    return not isinstance(error, tuple(definition.dont_autoretry_for))


def autoretry(definition: TaskDefinition, request: Request, error: BaseException) -> None:
    """Ask for the retry that the definition's options describe. Raises ``Retry``, or ``error`` if none is left."""
    asked = dict(definition.retry_kwargs)
    if definition.retry_backoff:
        asked["countdown"] = backoff(
            float(definition.retry_backoff),
            request.retries,
            float(definition.retry_backoff_max),
            jitter=bool(definition.retry_jitter),
        )
    # What the function itself said in self.retry() counts more.
    if request.override_max_retries is not None:
        asked["max_retries"] = request.override_max_retries
    definition.retry(exc=error, **asked)
