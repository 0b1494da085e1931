"""Endings that the worker itself gives an attempt, without an executor."""

from __future__ import annotations

from time import monotonic

import psycopg

from djqueue.exceptions import EncodeError, TaskRevokedError
from djqueue.records import Claim, Outcome
from djqueue.serializers import decode, encode_error


def void(claim: Claim) -> Outcome | None:
    """Return the outcome of a claim that is not to start, because its task was cancelled or has expired, or None."""
    if claim.context is None:
        return None
    context = decode(claim.context)
    expires = context.get("expires")
    if context.get("cancelled"):
        reason = "revoked"
    elif expires is not None and expires <= claim.claimed:
        reason = "expired"
    else:
        return None
    error = encode_error(TaskRevokedError(reason), with_traceback=False)
    return Outcome.cancelled(claim.id, claim.attempt, error, None, monotonic())


def refused(outcome: Outcome, error: psycopg.Error) -> Outcome:
    """Return the failure of a task whose result PostgreSQL refuses."""
    reason = EncodeError(f"PostgreSQL cannot store the result: {' '.join(str(error).split())}")
    stored = encode_error(reason, with_traceback=False)
    return Outcome.failed(outcome.id, outcome.attempt, stored, outcome.started, outcome.finished)
