"""Run one attempt: from a claim to an outcome, touching no table of ours."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from djqueue import registry, signals, states
from djqueue.attempt import IGNORED, REQUEUED, Attempt, Ended, ExceptionInfo, revoked
from djqueue.calls import stored_options
from djqueue.conf import settings
from djqueue.context import Request, request_of, running
from djqueue.definition import TaskDefinition
from djqueue.exceptions import EncodeError, NotRegistered, Reject
from djqueue.records import Claim, Outcome
from djqueue.retrying import RetryPlan
from djqueue.serializers import decode, encode, encode_error

from .connections import clean_connections, drop_dead_connections
from .guarantees import GivenBack, run_exactly_once, start_once
from .interruptible import Interrupted
from .seat import Seat

Value = TypeVar("Value")

HEARD = (
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
    signals.task_rejected,
)
"""Signals that are sent around a task, where it runs."""


def run(claim: Claim, seat: Seat) -> Outcome:
    """Run an attempt to its end. Whatever the task raises becomes an outcome, except ``Interrupted``.

    The outcome's times are of the monotonic clock.
    """
    started = monotonic()
    try:
        args, kwargs, options = _decoded(claim)
        request = _request(claim, args, kwargs, options, seat)
        if (reason := _void(request, started)) is not None:
            return _voided(claim, revoked(_sender(claim), request, reason))
        definition = registry.get(claim.name)
        drop_dead_connections()
        attempt = Attempt(definition, request, args, kwargs, partial(_encode_value, claim.name))
        with running(definition, request):
            if definition.at_most_once:
                start_once(claim, seat.worker_id)
            return _outcome(claim, _run(attempt, claim, options, seat), started, definition, options)
    except Interrupted:
        raise
    except GivenBack:
        return Outcome.released(claim.id, claim.attempt)
    except BaseException as error:
        return _unfit(claim, error, started)
    finally:
        clean_connections()


async def arun(claim: Claim, seat: Seat) -> Outcome:
    """The same for a coroutine function, on a running event loop.

    The caller cares for the connections of the thread in which the ORM works.
    """
    started = monotonic()
    try:
        args, kwargs, options = _decoded(claim)
        request = _request(claim, args, kwargs, options, seat)
        if (reason := _void(request, started)) is not None:
            return _voided(claim, await _in_thread(revoked, _sender(claim), request, reason))
        definition = registry.get(claim.name)
        attempt = Attempt(definition, request, args, kwargs, partial(_encode_value, claim.name))
        with running(definition, request):
            if definition.at_most_once:
                await _in_thread(start_once, claim, seat.worker_id)
            return _outcome(claim, await _arun(attempt, options, seat), started, definition, options)
    except Interrupted:
        raise
    except GivenBack:
        return Outcome.released(claim.id, claim.attempt)
    except BaseException as error:
        return await _in_thread(_unfit, claim, error, started)


def _void(request: Request, now: float) -> str | None:
    """Return why a task is not to start, or None."""
    if request.cancelled or request.is_aborted():
        return "revoked"
    return "expired" if request.expires_at is not None and request.expires_at <= now else None


def _voided(claim: Claim, ended: Ended) -> Outcome:
    assert ended.error is not None
    error = encode_error(ended.error, with_traceback=False)
    return Outcome.cancelled(claim.id, claim.attempt, error, None, monotonic())


def _sender(claim: Claim) -> TaskDefinition | str:
    try:
        return registry.get(claim.name)
    except NotRegistered:
        return claim.name


def _unfit(claim: Claim, error: BaseException, started: float) -> Outcome:
    """Return the failure of a task of which no definition has the name, or whose row makes no sense."""
    if isinstance(error, NotRegistered):
        signals.task_unknown.send(None, name=claim.name, id=claim.id, message=claim, exc=error)
    else:
        signals.task_internal_error.send(
            claim.name,
            task_id=claim.id,
            args=claim.args,
            kwargs=claim.kwargs,
            request=None,
            exception=error,
            einfo=ExceptionInfo(error),
        )
    return Outcome.failed(claim.id, claim.attempt, encode_error(error), started, monotonic())


def _run(attempt: Attempt, claim: Claim, options: dict[str, Any], seat: Seat) -> Ended:
    try:
        if attempt.definition.transactional:
            return run_exactly_once(
                claim,
                attempt,
                partial(_call, attempt, options, seat),
                seat,
                ignored=_ignored(attempt.definition, options),
            )
        value = _call(attempt, options, seat)
    except (Interrupted, GivenBack):
        raise
    except BaseException as error:
        seat.end()  # the first call may itself have been interrupted by the last moment's soft limit
        # SystemExit and KeyboardInterrupt too: a task cannot end the process that runs it by raising.
        return attempt.raised(error)
    return attempt.returned(value)


def _call(attempt: Attempt, options: dict[str, Any], seat: Seat) -> Any:
    try:
        _begin(attempt, options, seat)
        attempt.begin()
        value = attempt.call()
        return seat.drive(value) if inspect.iscoroutine(value) else value
    finally:
        seat.end()


async def _arun(attempt: Attempt, options: dict[str, Any], seat: Seat) -> Ended:
    call = _in_thread if _is_heard(attempt.definition) else _here
    try:
        try:
            _begin(attempt, options, seat)
            await call(attempt.begin)
            value = attempt.call()
            if inspect.isawaitable(value):
                value = await value
        finally:
            seat.end()
    except Interrupted:
        raise
    except BaseException as error:
        return await call(attempt.raised, error)
    return await call(attempt.returned, value)


def _begin(attempt: Attempt, options: dict[str, Any], seat: Seat) -> None:
    definition = attempt.definition
    soft = options.get("soft_time_limit", definition.soft_time_limit)
    hard = options.get("time_limit", definition.time_limit)
    if soft is not None or hard is not None:
        attempt.request.update(time_limit=hard, soft_time_limit=soft)
    seat.begin(soft, hard)


async def _here(function: Callable[..., Value], *args: Any) -> Value:
    return function(*args)


async def _in_thread(function: Callable[..., Value], *args: Any) -> Value:
    # Hooks and receivers are plain functions, which may use the ORM.
    return await sync_to_async(function)(*args)


def _is_heard(definition: TaskDefinition) -> bool:
    """Whether somebody else's code runs before or after the function."""
    return bool(definition.overridden) or any(signal.receivers for signal in HEARD)


def _outcome(
    claim: Claim, ended: Ended, started: float, definition: TaskDefinition, options: dict[str, Any]
) -> Outcome:
    id, attempt, finished = claim.id, claim.attempt, monotonic()
    if ended.state == states.SUCCESS:
        if definition.transactional:
            return Outcome.settled(id, attempt, started, finished)
        if _ignored(definition, options):
            return Outcome.forgotten(id, attempt, started, finished)
        return Outcome.succeeded(id, attempt, ended.text, started, finished)
    if ended.state == IGNORED:
        return Outcome.forgotten(id, attempt, started, finished)
    if ended.state == REQUEUED and not definition.at_most_once:
        return Outcome.released(id, attempt)
    error = encode_error(ended.error or Reject(requeue=True), with_traceback=not ended.expected)
    if ended.state == REQUEUED:  # what was marked to run once only runs again as a retry
        return Outcome.retried(id, attempt, error, started, finished, encode({"countdown": 0.0}))
    if ended.state == states.REVOKED:
        return Outcome.cancelled(id, attempt, error, started, finished)
    if ended.retry is not None:
        return Outcome.retried(id, attempt, error, started, finished, _stored_plan(ended.retry))
    return Outcome.failed(id, attempt, error, started, finished)


def _ignored(definition: TaskDefinition, options: dict[str, Any]) -> bool:
    return bool(options.get("ignore_result", definition.ignore_result))


def _stored_plan(plan: RetryPlan) -> str:
    change: dict[str, Any] = {}
    if plan.args is not None:
        change["args"] = list(plan.args)
    if plan.kwargs is not None:
        change["kwargs"] = dict(plan.kwargs)
    for placing in ("queue", "priority"):
        if plan.options.get(placing) is not None:
            change[placing] = plan.options[placing]
    if stored := stored_options("retry", plan.options):
        change["options"] = stored
    return encode({"countdown": plan.countdown, **({"change": change} if change else {})})


def _decoded(claim: Claim) -> tuple[list[Any], dict[str, Any], dict[str, Any]]:
    args, kwargs = decode(claim.args), decode(claim.kwargs)
    options = decode(claim.options) if claim.options else {}
    for what, value, kind in (("args", args, list), ("kwargs", kwargs, dict), ("options", options, dict)):
        if type(value) is not kind:
            raise TypeError(f"expected the stored {what} of task {claim.name} to be a {kind.__name__}, got: {value!r}")
    return args, kwargs, options


def _request(claim: Claim, args: list[Any], kwargs: dict[str, Any], options: dict[str, Any], seat: Seat) -> Request:
    context = decode(claim.context) if claim.context else {}
    request = request_of(claim.name, claim.id, args, kwargs, options, context)
    request.update(
        hostname=seat.hostname,
        attempt=claim.attempt,
        cancelled=context.get("cancelled"),
        expires_at=context.get("expires_at"),
        delivery_info={
            "routing_key": claim.queue,
            "priority": claim.priority,
            "redelivered": claim.attempt > 1 + request.retries,
        },
        report=partial(seat.report, claim.id, claim.attempt),
        is_aborted=partial(seat.is_aborted, claim.id),
    )
    return request


def _encode_value(name: str, value: Any) -> str:
    if value is None:
        return "null"
    try:
        text = encode(value)
    except EncodeError as error:
        raise EncodeError(f"the result of task {name} cannot be stored: {error}") from error
    size = len(text) if text.isascii() else len(text.encode())
    if size > settings.RESULT_MAX_BYTES:
        raise EncodeError(
            f"expected the result of task {name} to take at most {settings.RESULT_MAX_BYTES:,} bytes as JSON "
            f"(DJQUEUE['RESULT_MAX_BYTES']), got: {size:,}"
        )
    return text
