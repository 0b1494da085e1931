"""Run a claim or a batch of them: from claims to outcomes, each task with its own.

Everything around a task (hooks, signals, its result, its retry) is done for each of a batch; only the call is one.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Sequence
from functools import partial
from time import monotonic
from typing import Any, NamedTuple

from asgiref.sync import sync_to_async

from djqueue import registry
from djqueue.attempt import Attempt, Ended, result_text
from djqueue.batches import BatchRequest, failed, shared
from djqueue.context import Request, running
from djqueue.definition import TaskDefinition
from djqueue.records import Claim, Outcome

from . import runner
from .batches import Batch, Outcomes
from .connections import clean_connections, drop_dead_connections
from .interruptible import Interrupted
from .joining import in_workflow
from .outcomes import outcome_of, unfit, voided
from .reading import Order, read
from .seat import Seat


class Member(NamedTuple):
    """One task of a batch that is about to run. ``ended`` is how it ended if a hook kept it from running."""

    claim: Claim
    order: Order
    attempt: Attempt
    ended: Ended | None


def run(claim: Claim, seat: Seat) -> Outcome:
    """Run a claim to its end, or a batch. Whatever a task raises becomes an outcome, except ``Interrupted``."""
    return run_batch(claim, seat) if isinstance(claim, Batch) else runner.run(claim, seat)


async def arun(claim: Claim, seat: Seat) -> Outcome:
    """The same for a coroutine function, on a running event loop."""
    return await arun_batch(claim, seat) if isinstance(claim, Batch) else await runner.arun(claim, seat)


def run_batch(batch: Batch, seat: Seat) -> Outcome:
    """Run a batch in one call, and return what became of each of its tasks."""
    started = monotonic()
    try:
        drop_dead_connections()
        definition, ready, outcomes = _prepared(batch, seat, started)
        if ready:
            assert definition is not None
            value = _called(definition, ready, seat)
            outcomes += _concluded(definition, ready, value, started)
        return Outcomes.of(outcomes)
    except Interrupted:
        raise
    except BaseException as error:
        return Outcomes.of(unfit(claim, error, started) for claim in batch.claims)
    finally:
        clean_connections()


async def arun_batch(batch: Batch, seat: Seat) -> Outcome:
    """The same for a coroutine function. Hooks and receivers, which may use the ORM, run in a thread."""
    started = monotonic()
    try:
        definition, ready, outcomes = await sync_to_async(_prepared)(batch, seat, started)
        if ready:
            assert definition is not None
            value = await _awaited(definition, ready, seat)
            outcomes += await sync_to_async(_concluded)(definition, ready, value, started)
        return Outcomes.of(outcomes)
    except Interrupted:
        raise
    except Exception as error:
        return Outcomes.of(unfit(claim, error, started) for claim in batch.claims)


def _prepared(batch: Batch, seat: Seat, started: float) -> tuple[TaskDefinition | None, list[Member], list[Outcome]]:
    """Return the tasks that are to run, and the outcomes of those that are not."""
    ready: list[Member] = []
    outcomes: list[Outcome] = []
    definition = None
    for claim in batch.claims:
        try:
            order = read(claim, seat)
            order = order._replace(request=BatchRequest(**vars(order.request)))
            runner._receive(order, seat)
            if (reason := order.void(started)) is not None:
                outcomes.append(voided(claim, order, reason))
                continue
            definition = registry.get(claim.name)
            ready.append(_begun(claim, order, definition))
        except Exception as error:
            outcomes.append(unfit(claim, error, started))
    return definition, ready, outcomes


def _begun(claim: Claim, order: Order, definition: TaskDefinition) -> Member:
    encode = partial(result_text, definition, order.ignores_result(definition))
    attempt = Attempt(definition, order.request, order.args, order.kwargs, encode)
    with running(definition, order.request):
        try:
            attempt.begin()
        except Exception as error:
            return Member(claim, order, attempt, attempt.raised(error))
    return Member(claim, order, attempt, None)


def _requests(ready: Sequence[Member]) -> list[Any]:
    return [member.order.request for member in ready if member.ended is None]


def _limit(definition: TaskDefinition, ready: Sequence[Member], option: str) -> float | None:
    """Return the shortest of a limit that its tasks have."""
    limits = [member.order.options.get(option, getattr(definition, option)) for member in ready]
    return min((limit for limit in limits if limit is not None), default=None)


def _called(definition: TaskDefinition, ready: Sequence[Member], seat: Seat) -> list[Any]:
    requests = _requests(ready)
    if not requests:
        return []
    try:
        with running(definition, Request(called_directly=True, args=(requests,), kwargs={}, retries=0)):
            try:
                seat.begin(_limit(definition, ready, "soft_time_limit"), _limit(definition, ready, "time_limit"))
                value = definition.run(requests)
                if inspect.iscoroutine(value):
                    value = seat.drive(value, "")
            finally:
                seat.end()
        return shared(definition.name, requests, value)
    except Interrupted:
        raise
    except BaseException as error:
        seat.end()  # the first call may itself have been interrupted by the last moment's soft limit
        return failed(requests, error)


async def _awaited(definition: TaskDefinition, ready: Sequence[Member], seat: Seat) -> list[Any]:
    requests = _requests(ready)
    if not requests:
        return []
    try:
        with running(definition, Request(called_directly=True, args=(requests,), kwargs={}, retries=0)):
            try:
                seat.begin(_limit(definition, ready, "soft_time_limit"), _limit(definition, ready, "time_limit"))
                value = definition.run(requests)
                if inspect.isawaitable(value):
                    value = await value
            finally:
                seat.end()
        return shared(definition.name, requests, value)
    except Interrupted:
        raise
    except Exception as error:
        return failed(requests, error)


def _concluded(
    definition: TaskDefinition, ready: Sequence[Member], values: Sequence[Any], started: float
) -> list[Outcome]:
    """Return the outcome of each task, the hooks for its end called."""
    remaining = iter(values)
    outcomes = []
    for member in ready:
        claim, order, attempt, ended = member
        with running(definition, order.request):
            if ended is None:
                value = next(remaining)
                end: Callable[[Any], Ended] = attempt.raised if isinstance(value, BaseException) else attempt.returned
                ended = end(value)
            outcome = outcome_of(claim, order, definition, ended, started)
            outcomes.append(in_workflow(claim, order.request, ended, outcome))
    return outcomes
