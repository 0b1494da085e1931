"""Outcomes: what is stored of how an attempt ended."""

from __future__ import annotations

import json
from time import monotonic
from typing import Any

from djqueue import registry, signals, states
from djqueue.attempt import IGNORED, REPLACED, REQUEUED, Ended, ExceptionInfo, revoked
from djqueue.calls import stored_options
from djqueue.definition import TaskDefinition
from djqueue.exceptions import NotRegistered, Reject
from djqueue.records import Claim, Outcome
from djqueue.retrying import RetryPlan
from djqueue.serializers import encode, encode_error

from .reading import Order


def outcome_of(claim: Claim, order: Order, definition: TaskDefinition, ended: Ended, started: float) -> Outcome:
    """Return the outcome of an attempt that has started; its times are of the monotonic clock."""
    id, attempt, finished = claim.id, claim.attempt, monotonic()
    if ended.state == states.SUCCESS:
        if definition.transactional:
            return Outcome.settled(id, attempt, started, finished)
        if order.ignores_result(definition):
            return Outcome.forgotten(id, attempt, started, finished)
        return Outcome.succeeded(id, attempt, ended.text, started, finished)
    if ended.state == IGNORED:
        return Outcome.forgotten(id, attempt, started, finished)
    if ended.state == REPLACED:
        return Outcome.replaced(id, attempt, "", started, finished)
    if ended.state == REQUEUED and not definition.at_most_once:
        return Outcome.requeued(id, attempt)
    error = encode_error(ended.error or Reject(requeue=True), with_traceback=not ended.expected)
    if ended.state == REQUEUED:  # what was marked to run once only runs again as a retry
        return Outcome.retried(id, attempt, error, started, finished, encode({"countdown": 0.0}))
    if ended.state == states.REVOKED:
        return Outcome.cancelled(id, attempt, error, started, finished)
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


def voided(claim: Claim, order: Order, reason: str) -> Outcome:
    """Return the outcome of a task that is not to start, and tell who listens."""
    ended = revoked(_sender(claim), order.request, reason)
    assert ended.error is not None
    error = encode_error(ended.error, with_traceback=False)
    return Outcome.cancelled(claim.id, claim.attempt, error, None, monotonic())


def _sender(claim: Claim) -> TaskDefinition | str:
    try:
        return registry.get(claim.name)
    except NotRegistered:
        return claim.name


def unfit(claim: Claim, error: BaseException, started: float) -> Outcome:
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
