"""Run one attempt: from a claim to an outcome, touching no table of ours."""

from __future__ import annotations

import inspect
from asyncio import CancelledError
from collections.abc import Callable
from functools import partial
from time import monotonic
from typing import Any, TypeVar

from asgiref.sync import sync_to_async

from djqueue import registry, signals
from djqueue.attempt import REPLACED, Attempt, Ended, result_text
from djqueue.context import running
from djqueue.definition import TaskDefinition
from djqueue.records import Claim, Outcome

from .connections import clean_connections, drop_dead_connections
from .guarantees import GivenBack, run_exactly_once, start_once
from .interruptible import Interrupted
from .joining import for_errback, in_workflow
from .outcomes import outcome_of, unfit, voided
from .reading import Order, read
from .seat import Seat
from .task_logs import logbooks, store_log

Value = TypeVar("Value")

HEARD = (
    signals.task_received,
    signals.task_prerun,
    signals.task_postrun,
    signals.task_success,
    signals.task_failure,
    signals.task_retry,
    signals.task_rejected,
    signals.task_revoked,
)
"""Signals that are sent around a task, where it runs."""


def run(claim: Claim, seat: Seat) -> Outcome:
    """Run an attempt to its end. Whatever the task raises becomes an outcome, except ``Interrupted``.

    The outcome's times are of the monotonic clock.
    """
    started = monotonic()
    try:
        order = read(claim, seat)
        _receive(order, seat)
        if (reason := order.void(started)) is not None:
            return voided(claim, order, reason)
        attempt = _attempt(claim, order)
        definition = attempt.definition
        drop_dead_connections()
        with running(definition, order.request):
            if definition.at_most_once:
                start_once(claim, seat.worker_id)
            ended = _run(attempt, claim, order, seat)
            return _outcome(claim, order, definition, ended, started)
    except Interrupted:
        raise
    except GivenBack:
        return Outcome.released(claim.id, claim.attempt)
    except BaseException as error:
        return unfit(claim, error, started)
    finally:
        if logbooks:
            store_log(claim)
        clean_connections()


async def arun(claim: Claim, seat: Seat) -> Outcome:
    """The same for a coroutine function, on a running event loop.

    The caller cares for the connections of the thread in which the ORM works.
    """
    started = monotonic()
    try:
        order = read(claim, seat)
        if signals.task_received.receivers:
            await _in_thread(_receive, order, seat)
        if (reason := order.void(started)) is not None:
            return await _in_thread(voided, claim, order, reason)
        attempt = _attempt(claim, order)
        definition = attempt.definition
        with running(definition, order.request):
            if definition.at_most_once:
                await _in_thread(start_once, claim, seat.worker_id)
            ended = await _arun(attempt, order, seat)
            call = _in_thread if ended.state == REPLACED or order.request.added else _here
            return await call(_outcome, claim, order, definition, ended, started)
    except Interrupted:
        raise
    except GivenBack:
        return Outcome.released(claim.id, claim.attempt)
    except CancelledError:
        if not seat.is_aborted(claim.id):
            raise
        # It came in the very moment in which the function ended.
        return await _in_thread(voided, claim, order, "revoked")
    except BaseException as error:
        return await _in_thread(unfit, claim, error, started)
    finally:
        if logbooks:
            await _in_thread(store_log, claim)


def _receive(order: Order, seat: Seat) -> None:
    if signals.task_received.receivers:
        signals.task_received.send(seat.hostname, request=order.request)


def _attempt(claim: Claim, order: Order) -> Attempt:
    definition = registry.get(claim.name)
    encode = partial(result_text, definition, order.ignores_result(definition))
    args = for_errback(definition, order.args, order.kwargs, order.failing)
    return Attempt(definition, order.request, args, order.kwargs, encode)


def _outcome(claim: Claim, order: Order, definition: TaskDefinition, ended: Ended, started: float) -> Outcome:
    return in_workflow(claim, order.request, ended, outcome_of(claim, order, definition, ended, started))


def _run(attempt: Attempt, claim: Claim, order: Order, seat: Seat) -> Ended:
    definition = attempt.definition
    try:
        if definition.transactional:
            call = partial(_call, attempt, order, seat)
            return run_exactly_once(claim, attempt, call, seat, ignored=order.ignores_result(definition))
        value = _call(attempt, order, seat)
    except (Interrupted, GivenBack):
        raise
    except BaseException as error:
        seat.end()  # the first call may itself have been interrupted by the last moment's soft limit
        # SystemExit and KeyboardInterrupt too: a task cannot end the process that runs it by raising.
        return attempt.raised(error)
    return attempt.returned(value)


def _call(attempt: Attempt, order: Order, seat: Seat) -> Any:
    try:
        _begin(attempt, order, seat)
        attempt.begin()
        value = attempt.call()
        return seat.drive(value, attempt.request.id) if inspect.iscoroutine(value) else value
    finally:
        seat.end()


async def _arun(attempt: Attempt, order: Order, seat: Seat) -> Ended:
    call = _in_thread if _is_heard(attempt.definition) else _here
    try:
        try:
            _begin(attempt, order, seat)
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


def _begin(attempt: Attempt, order: Order, seat: Seat) -> None:
    definition = attempt.definition
    soft = order.options.get("soft_time_limit", definition.soft_time_limit)
    hard = order.options.get("time_limit", definition.time_limit)
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
