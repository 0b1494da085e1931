"""Attempts: one run of a task's function with everything around it, the same in a worker and in eager mode.

An attempt asks the surroundings for nothing and writes nothing: it ends as an ``Ended``. The caller runs the function,
because only it knows whether a coroutine is awaited or driven::

    attempt = Attempt(definition, request, args, kwargs, encode)
    with running(definition, request):
        try:
            attempt.begin()
            value = attempt.call()
        except BaseException as error:
            ended = attempt.raised(error)
        else:
            ended = attempt.returned(value)
"""

from __future__ import annotations

import logging
from asyncio import CancelledError
from collections.abc import Callable, Sequence
from datetime import datetime
from functools import cached_property
from types import TracebackType
from typing import TYPE_CHECKING, Any, NamedTuple

from django.utils import timezone

from . import signals, states
from .calls import aware, check_countdown
from .exceptions import EncodeError, Ignore, Reject, Replace, Retry, TaskRevokedError
from .retrying import RetryPlan, autoretry, wants_autoretry
from .serializers import encode_result, format_traceback

if TYPE_CHECKING:
    from .context import Request
    from .definition import TaskDefinition

logger = logging.getLogger("djqueue.task")

IGNORED = "IGNORED"
REQUEUED = "REQUEUED"
REPLACED = "REPLACED"


class Ended(NamedTuple):
    """How an attempt ended.

    ``state`` is SUCCESS, FAILURE, RETRY, REVOKED, ``IGNORED``, ``REQUEUED`` or ``REPLACED``; ``value`` what the
    function returned, or the signature that takes the task's place, and ``text`` its encoded form; ``error`` the
    exception of one that failed or is retried.
    """

    state: str
    value: Any = None
    text: str = "null"
    error: BaseException | None = None
    retry: RetryPlan | None = None
    expected: bool = False


def result_text(definition: TaskDefinition, ignored: bool, value: Any) -> str:
    """Return a result as it is stored. Raises ``EncodeError``, unless nobody will ask for it."""
    try:
        return encode_result(definition.name, definition.typed_arguments.encode_return(value))
    except EncodeError:
        if ignored:
            return "null"
        raise


class ExceptionInfo:
    """An exception with its traceback, as hooks and signals get it."""

    def __init__(self, error: BaseException) -> None:
        self.exception = error
        self.type = type(error)
        self.tb: TracebackType | None = error.__traceback__
        self.internal = False

    @cached_property
    def traceback(self) -> str:
        """As text, with its middle cut out where it is very long."""
        return format_traceback(self.exception)

    @property
    def exc_info(self) -> tuple[type[BaseException], BaseException, TracebackType | None]:
        return self.type, self.exception, self.tb

    def __str__(self) -> str:
        return self.traceback

    def __repr__(self) -> str:
        return f"<ExceptionInfo: {self.exception!r}>"


class Attempt:
    """One run of a definition. ``encode`` turns what it returns into text, or raises.

    Hooks, signals and the request see arguments as they are stored; only the function sees typed ones.
    """

    def __init__(
        self,
        definition: TaskDefinition,
        request: Request,
        args: Sequence[Any],
        kwargs: dict[str, Any],
        encode: Callable[[Any], str],
    ) -> None:
        self.definition = definition
        self.request = request
        self.args = args
        self.kwargs = kwargs
        self._encode = encode

    def begin(self) -> None:
        """Tell whoever wants to know. What a hook raises fails the attempt."""
        if signals.task_prerun.receivers:
            signals.task_prerun.send(
                self.definition, task_id=self.request.id, task=self.definition, args=self.args, kwargs=self.kwargs
            )
        if self.definition.has_hook("before_start"):
            self.definition.before_start(self.request.id, self.args, self.kwargs)

    def call(self) -> Any:
        """Call the function; for a coroutine function that is only its beginning."""
        args, kwargs = self.definition.typed_arguments.decode(self.args, self.kwargs)
        try:
            return self.definition(*args, **kwargs)
        except TypeError as error:
            if _never_began(error) and not self.definition.check_call.accepts(args, kwargs):
                raise TypeError(
                    f"the arguments of task {self.definition.name} do not fit its function, which may have changed "
                    f"since they were stored: {error}; its signature is {self.definition.check_call.signature}"
                ) from None
            raise

    def returned(self, value: Any) -> Ended:
        """End an attempt whose function returned."""
        try:
            text = self.text_of(value)
        except Exception as error:
            return self.raised(error)
        return self.succeeded(value, text)

    def text_of(self, value: Any) -> str:
        """Return what is stored of a returned value. Raises ``Retry`` if one was asked for without throwing."""
        plan = self.request.retry_plan
        if plan is not None:
            raise Retry(when=plan.countdown)
        return self._encode(value)

    def succeeded(self, value: Any, text: str) -> Ended:
        """End an attempt that has succeeded."""
        if self.definition.has_hook("on_success"):
            self._safely(self.definition.on_success, value, self.request.id, self.args, self.kwargs)
        if signals.task_success.receivers:
            signals.task_success.send(self.definition, result=value)
        self._after(states.SUCCESS, value, None)
        return Ended(states.SUCCESS, value, text)

    def raised(self, error: BaseException) -> Ended:
        """End an attempt that raised."""
        if (
            isinstance(error, CancelledError | TaskRevokedError)
            and self.request.is_aborted
            and self.request.is_aborted()
        ):
            ended = revoked(self.definition, self.request, "revoked")
            self._postrun(states.REVOKED, ended.error)
            return ended
        if wants_autoretry(self.definition, error):
            try:
                autoretry(self.definition, self.request, error)
            except BaseException as verdict:
                error = verdict
        if isinstance(error, Retry):
            try:
                return self._retried(error, self.request.retry_plan or _plan_of(error))
            except ValueError as problem:
                error = problem
        if isinstance(error, Replace):
            self._postrun(IGNORED, None)
            return Ended(REPLACED, error.sig)
        if isinstance(error, Ignore):
            self._postrun(IGNORED, None)
            return Ended(IGNORED)
        if isinstance(error, Reject):
            signals.task_rejected.send(self.definition, message=self.request, exc=error)
            if error.requeue:
                self._postrun(REQUEUED, None)
                return Ended(REQUEUED)
        return self._failed(error)

    def _failed(self, error: BaseException) -> Ended:
        info = ExceptionInfo(error)
        if self.definition.has_hook("on_failure"):
            try:
                self.definition.on_failure(error, self.request.id, self.args, self.kwargs, info)
            except Exception as problem:
                try:
                    if isinstance(problem, Retry):
                        # A common way to retry from one place: on_failure calls self.retry().
                        return self._retried(problem, self.request.retry_plan or _plan_of(problem))
                except ValueError as wrong:
                    problem = wrong
                if problem is not error:  # self.retry() raises the error itself when no retry is left
                    logger.error("on_failure of %s[%s] raised", self.definition.name, self.request.id, exc_info=problem)
        if signals.task_failure.receivers:
            signals.task_failure.send(
                self.definition,
                task_id=self.request.id,
                exception=error,
                args=self.args,
                kwargs=self.kwargs,
                traceback=error.__traceback__,
                einfo=info,
            )
        self._after(states.FAILURE, error, info)
        return Ended(states.FAILURE, error=error, expected=isinstance(error, tuple(self.definition.throws)))

    def _retried(self, retry: Retry, plan: RetryPlan) -> Ended:
        error = retry.exc if isinstance(retry.exc, BaseException) else retry
        info = ExceptionInfo(error)
        if self.definition.has_hook("on_retry"):
            self._safely(self.definition.on_retry, error, self.request.id, self.args, self.kwargs, info)
        if signals.task_retry.receivers:
            signals.task_retry.send(self.definition, request=self.request, reason=retry, einfo=info)
        self._postrun(states.RETRY, error)
        return Ended(states.RETRY, error=error, retry=plan)

    def _after(self, state: str, value: Any, info: ExceptionInfo | None) -> None:
        if self.definition.has_hook("after_return"):
            self._safely(self.definition.after_return, state, value, self.request.id, self.args, self.kwargs, info)
        self._postrun(state, value)

    def _postrun(self, state: str, value: Any) -> None:
        if signals.task_postrun.receivers:
            signals.task_postrun.send(
                self.definition,
                task_id=self.request.id,
                task=self.definition,
                args=self.args,
                kwargs=self.kwargs,
                retval=value,
                state=state,
            )

    def _safely(self, hook: Callable[..., Any], *args: Any) -> None:
        try:
            hook(*args)
        except Exception:
            logger.exception("%s of %s[%s] raised", hook.__name__, self.definition.name, self.request.id)


def revoked(sender: object, request: Request, reason: str) -> Ended:
    """End an attempt that somebody cancelled, or that expired before its start."""
    signals.task_revoked.send(sender, request=request, terminated=False, signum=None, expired=reason == "expired")
    return Ended(states.REVOKED, error=TaskRevokedError(reason), expected=True)


def _plan_of(retry: Retry) -> RetryPlan:
    """Return the plan of a ``Retry`` that was raised by hand. Raises ``ValueError`` if it says no time."""
    when = retry.when
    if isinstance(when, datetime):
        return RetryPlan((aware(when) - timezone.now()).total_seconds(), None, {})
    return RetryPlan(0.0 if when is None else check_countdown(when), None, {})


def _never_began(error: BaseException) -> bool:
    """Whether the definition's function refused its arguments: below its caller's frame there is none."""
    here = error.__traceback__
    return here is not None and here.tb_next is not None and here.tb_next.tb_next is None
