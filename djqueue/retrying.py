"""Retrying: what ``self.retry()`` decides, and what the attempt's outcome carries of it."""

from __future__ import annotations

import datetime
import sys
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils import timezone

from .backoff import backoff
from .calls import aware, check_countdown, check_retry_options
from .exceptions import Ignore, MaxRetriesExceededError, Reject, Retry

if TYPE_CHECKING:
    from .context import Request
    from .definition import TaskDefinition


class RetryPlan(NamedTuple):
    """When the task runs again, in seconds from now, and what is changed about it.

    ``args`` and ``kwargs`` are None if they stay; ``options`` are those of ``apply_async``.
    """

    countdown: float
    args: Sequence[Any] | None
    kwargs: Mapping[str, Any] | None
    options: dict[str, Any]


def plan_retry(
    definition: TaskDefinition,
    request: Request,
    *,
    args: Sequence[Any] | None,
    kwargs: Mapping[str, Any] | None,
    exc: BaseException | None,
    eta: datetime.datetime | None,
    countdown: float | None,
    max_retries: int | None,
    options: dict[str, Any],
) -> Retry:
    """Return the ``Retry`` that asks for another attempt, and note the plan in the request.

    Raises ``exc``, the current exception or ``MaxRetriesExceededError`` if the task was retried as often as it may be,
    or if no task runs here.
    """
    if request.called_directly:
        raise _cause(exc) or Retry("Task can be retried", None)
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
    request.update(retry_plan=RetryPlan(seconds, args, kwargs, options))
    return Retry(exc=exc, when=when, is_eager=request.is_eager)


def _cause(exc: BaseException | None) -> BaseException | None:
    """Return the error to blame: the one given, else the one that is being handled."""
    return exc if isinstance(exc, BaseException) else sys.exc_info()[1]


def _exceeded(definition: TaskDefinition, request: Request) -> MaxRetriesExceededError:
    return MaxRetriesExceededError(
        f"Can't retry {definition.name}[{request.id}] args:{request.args} kwargs:{request.kwargs}",
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
    # Celery lets a task change this for its present run.
    if request.override_max_retries is not None:
        asked["max_retries"] = request.override_max_retries
    definition.retry(exc=error, **asked)
