"""Run one attempt: from a claim to an outcome, touching no table of ours."""

from __future__ import annotations

import asyncio
import inspect
import select
from collections.abc import Coroutine
from functools import partial
from time import monotonic
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connections
from django.db.backends.base.base import BaseDatabaseWrapper
from psycopg.pq import TransactionStatus

from djqueue import registry, signals, states
from djqueue.attempt import IGNORED, REQUEUED, Attempt, Ended
from djqueue.calls import stored_options
from djqueue.conf import settings
from djqueue.context import Request, request_of, running
from djqueue.definition import TaskDefinition
from djqueue.exceptions import EncodeError, TaskRevokedError
from djqueue.records import Claim, Outcome
from djqueue.retrying import RetryPlan
from djqueue.serializers import decode, encode, encode_error

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
        args, kwargs, options = _decoded(claim)
        request = _request(claim, args, kwargs, options, seat)
        if (reason := _void(request, started)) is not None:
            return _revoked(claim, request, reason)
        definition = registry.get(claim.name)
        _drop_dead_connections()
        attempt = Attempt(definition, request, args, kwargs, partial(_encode_value, claim.name))
        ended = _run(attempt, definition, request)
        ignored = options.get("ignore_result", definition.ignore_result)
        return _outcome(claim, ended, started, ignored=ignored)
    except Interrupted:
        raise
    except BaseException as error:
        # What is stored makes no sense, or no definition has that name.
        return Outcome.failed(claim.id, claim.attempt, encode_error(error), started, monotonic())
    finally:
        _clean_connections()


def _void(request: Request, now: float) -> str | None:
    """Return why a task is not to start, or None."""
    if request.cancelled:
        return "revoked"
    return "expired" if request.expires_at is not None and request.expires_at <= now else None


def _revoked(claim: Claim, request: Request, reason: str, *, started: float | None = None) -> Outcome:
    signals.task_revoked.send(claim.name, request=request, terminated=False, signum=None, expired=reason == "expired")
    error = encode_error(TaskRevokedError(reason), with_traceback=False)
    return Outcome.cancelled(claim.id, claim.attempt, error, started, monotonic())


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


async def _awaited(value: Coroutine[Any, Any, Any]) -> Any:
    # The ORM of coroutines works in a thread of asgiref's, whose connections want the same care.
    await sync_to_async(_drop_dead_connections)()
    try:
        return await value
    finally:
        await sync_to_async(_clean_connections)()


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
