"""Run one attempt: from a claim to an outcome, touching no table of ours."""

from __future__ import annotations

import asyncio
import inspect
import json
import select
from collections.abc import Coroutine, Sequence
from functools import partial
from time import monotonic
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from djqueue import registry, states
from djqueue.attempt import IGNORED, REQUEUED, Attempt, Ended, result_text
from djqueue.calls import stored_options
from djqueue.context import Request, request_of, running
from djqueue.definition import TaskDefinition
from djqueue.records import Claim, Outcome
from djqueue.retrying import RetryPlan
from djqueue.serializers import decode, decode_arguments, encode, encode_error

from .seat import Seat

IDLE = TransactionStatus.IDLE


class Interrupted(BaseException):
    """Raised inside a task by a worker that has to stop now; the task goes back in line."""


def run(claim: Claim, seat: Seat) -> Outcome:
    """Run an attempt to its end. Whatever the task raises becomes an outcome, except ``Interrupted``.

    The outcome's times are of the monotonic clock.
    """
    started = monotonic()
    try:
        definition = registry.get(claim.name)
        args, kwargs, options = _decoded(claim)
        request = _request(claim, args, kwargs, options, seat)
        _drop_dead_connections()
        ignored = options.get("ignore_result", definition.ignore_result)
        attempt = Attempt(definition, request, args, kwargs, partial(result_text, definition, ignored))
        ended = _run(attempt, definition, request)
        return _outcome(claim, ended, started, ignored=ignored)
    except Interrupted:
        raise
    except BaseException as error:
        # What is stored makes no sense, or no definition has that name.
        return Outcome.failed(claim.id, claim.attempt, encode_error(error), started, monotonic())
    finally:
        _clean_connections()


def _run(attempt: Attempt, definition: TaskDefinition, request: Request) -> Ended:
    with running(definition, request):
        try:
            attempt.begin()
            value = attempt.call()
            if inspect.iscoroutine(value):
                value = asyncio.run(_awaited(value))
        except Interrupted:
            raise
        except BaseException as error:
            # SystemExit and KeyboardInterrupt too: a task cannot end the process that runs it by raising.
            return attempt.raised(error)
        return attempt.returned(value)


def _outcome(claim: Claim, ended: Ended, started: float, *, ignored: bool) -> Outcome:
    id, attempt, finished = claim.id, claim.attempt, monotonic()
    if ended.state == states.SUCCESS:
        if ignored:
            return Outcome.forgotten(id, attempt, started, finished)
        return Outcome.succeeded(id, attempt, ended.text, started, finished)
    if ended.state == IGNORED:
        return Outcome.forgotten(id, attempt, started, finished)
    if ended.state == REQUEUED:
        return Outcome.released(id, attempt)
    assert ended.error is not None
    error = encode_error(ended.error, with_traceback=not ended.expected)
    if ended.retry is not None:
        return Outcome.retried(id, attempt, error, started, finished, _stored_plan(ended.retry))
    return Outcome.failed(id, attempt, error, started, finished)


def _stored_plan(plan: RetryPlan) -> str:
    change: dict[str, Any] = {}
    if plan.arguments is not None:
        change["args"], change["kwargs"] = map(json.loads, plan.arguments)
    for placing in ("queue", "priority"):
        if plan.options.get(placing) is not None:
            change[placing] = plan.options[placing]
    if stored := stored_options("retry", plan.options):
        change["options"] = stored
    return encode({"countdown": plan.countdown, **({"change": change} if change else {})})


def _decoded(claim: Claim) -> tuple[Sequence[Any], dict[str, Any], dict[str, Any]]:
    args, kwargs = decode_arguments(claim.args, claim.kwargs, claim.name)
    options = decode(claim.options) if claim.options else {}
    if type(options) is not dict:
        raise TypeError(f"expected the stored options of task {claim.name} to be a dict, got: {options!r}")
    return args, kwargs, options


async def _awaited(value: Coroutine[Any, Any, Any]) -> Any:
    # The ORM of coroutines works in a thread of asgiref's, whose connections want the same care.
    await sync_to_async(_drop_dead_connections)()
    try:
        return await value
    finally:
        await sync_to_async(_clean_connections)()


def _request(claim: Claim, args: Any, kwargs: dict[str, Any], options: dict[str, Any], seat: Seat) -> Request:
    context = decode(claim.context) if claim.context else {}
    request = request_of(claim.name, claim.id, args, kwargs, options, context)
    request.update(
        hostname=seat.hostname,
        attempt=claim.attempt,
        delivery_info={
            "routing_key": claim.queue,
            "priority": claim.priority,
            "redelivered": claim.attempt > 1 + request.retries,
        },
        report=partial(seat.report, claim.id, claim.attempt),
    )
    return request


def _drop_dead_connections() -> None:
    """Close connections that the server ended while they were idle: the next task is not to find out."""
    for connection in connections.all(initialized_only=True):
        if connection.connection is None or connection.vendor != "postgresql":
            continue
        poll = select.poll()
        poll.register(connection.connection.fileno(), select.POLLIN)
        # Nothing is said on an idle connection, unless its end.
        if poll.poll(0) and not connection.is_usable():
            connection.close()


def _clean_connections() -> None:
    """Leave no transaction, no broken connection and no query log to the next task.

    Unlike between requests of a site, ``CONN_MAX_AGE = 0`` does not close a connection that works: the executor does
    when it has been idle for a while. Connecting anew for each task would cost more than most tasks.
    """
    for connection in connections.all(initialized_only=True):
        if connection.connection is None:
            continue
        if _in_transaction(connection):
            # The task left it open; closing rolls it back.
            connection.in_atomic_block = False
            connection.savepoint_ids = []
            connection.needs_rollback = False
            connection.close()
        elif connection.errors_occurred or _expired(connection):
            connection.close_if_unusable_or_obsolete()
        connection.health_check_done = False  # type: ignore[attr-defined]
        connection.queries_log.clear()


def _in_transaction(connection: BaseDatabaseWrapper) -> bool:
    if connection.in_atomic_block or not connection.autocommit:
        return True
    # A BEGIN of the task's own, which Django does not know of.
    return connection.vendor == "postgresql" and connection.connection.pgconn.transaction_status != IDLE


def _expired(connection: BaseDatabaseWrapper) -> bool:
    max_age = connection.settings_dict["CONN_MAX_AGE"]
    return bool(max_age) and connection.close_at is not None and monotonic() >= connection.close_at
