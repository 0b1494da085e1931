"""Endings that the worker itself gives an attempt, without an executor."""

from __future__ import annotations

from time import monotonic

import psycopg

from djqueue.exceptions import EncodeError, WorkerLostError
from djqueue.records import Claim, Outcome
from djqueue.serializers import decode, encode, encode_error

from .clock import DatabaseClock


def timed(claim: Claim, clock: DatabaseClock) -> Claim:
    """Return a claim that says at which monotonic time it expires, because executors do not know the database's."""
    assert claim.context is not None
    context = decode(claim.context)
    if context["expires"] is None:
        return claim
    return claim._replace(context=encode({**context, "expires_at": clock.moment(context["expires"])}))


def interrupted(outcome: Outcome) -> Outcome:
    """Return the loss of an attempt that was to go back in line but may not run twice."""
    reason = WorkerLostError("the task was interrupted, and may not run twice (acks_late or reject_on_worker_lost)")
    stored = encode_error(reason, with_traceback=False)
    return Outcome.lost(outcome.id, outcome.attempt, stored, monotonic())


def refused(outcome: Outcome, error: psycopg.Error) -> Outcome:
    """Return the failure of a task whose result, or next attempt, PostgreSQL refuses."""
    what = "the result" if outcome.retry is None else "the retry"
    reason = EncodeError(f"PostgreSQL cannot store {what}: {' '.join(str(error).split())}")
    stored = encode_error(reason, with_traceback=False)
    return Outcome.failed(outcome.id, outcome.attempt, stored, outcome.started, outcome.finished)
