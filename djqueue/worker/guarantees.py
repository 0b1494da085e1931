"""Guarantees: tasks that run at most once, or exactly once. Only these let their executor speak to the database.

It does so on the task's own Django connection to the database of the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from time import monotonic
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from djqueue.attempt import Attempt, Ended
from djqueue.conf import settings
from djqueue.records import Claim, Outcome
from djqueue.store.guarantee import mark_started, settle_own

from .seat import Seat


class GivenBack(Exception):
    """The attempt did not start, or nothing is left of it: it goes back in line, if it is still ours."""


def start_once(claim: Claim, worker_id: int) -> None:
    """Store that the attempt has started, so that it fails rather than run twice. Raises ``GivenBack``."""
    try:
        with connections[settings.DATABASE].cursor() as cursor:
            held = mark_started(cursor, worker_id, claim.id, claim.attempt)
    except (DatabaseError, InterfaceError) as error:
        raise GivenBack from error
    if not held:
        raise GivenBack


def run_exactly_once(claim: Claim, attempt: Attempt, call: Callable[[], Any], seat: Seat, *, ignored: bool) -> Ended:
    """Run ``call`` and store its outcome in one transaction; whatever else happens rolls both back.

    Raises what the function raised, what the commit raised, or ``GivenBack`` if the lease was lost. If the fate of the
    commit is unknown, so is the outcome's, but the worker's report of a failure counts only if the lease is left.
    """
    alias = settings.DATABASE
    started = monotonic()
    with transaction.atomic(using=alias, durable=True):
        value = call()
        text = attempt.text_of(value)
        if ignored:
            outcome = Outcome.forgotten(claim.id, claim.attempt, started, monotonic())
        else:
            outcome = Outcome.succeeded(claim.id, claim.attempt, text, started, monotonic())
        with connections[alias].cursor() as cursor:
            if not settle_own(cursor, seat.worker_id, seat.hostname, outcome, in_workflow=claim.in_workflow):
                raise GivenBack
    return attempt.succeeded(value, text)
