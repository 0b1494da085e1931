"""Guarantees: tasks that run at most once, or exactly once. Only these let their executor speak to the database.

It does so on the task's own Django connection to the database of the queue.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connections, transaction

from djqueue.attempt import Attempt, Ended
from djqueue.conf import settings
from djqueue.records import Claim, Outcome
from djqueue.store.guarantee import mark_started, settle_own


class LeaseLost(Exception):
    """Another worker has the task by now."""


def start_once(claim: Claim, worker_id: int) -> None:
    """Store that the attempt has started, so that it fails rather than run twice. Raises ``LeaseLost``."""
    with connections[settings.DATABASE].cursor() as cursor:
        if not mark_started(cursor, worker_id, claim.id, claim.attempt):
            raise LeaseLost


def run_exactly_once(
    attempt: Attempt,
    call: Callable[[], Any],
    outcome_of: Callable[[str], Outcome],
    worker_id: int,
    worker_name: str,
) -> Ended:
    """Run ``call`` and store its outcome in one transaction; whatever else happens rolls both back.

    Raises what the function raised, what the commit raised, or ``LeaseLost``. If the commit's fate is unknown, so is
    the outcome's, but the worker's report of a failure counts only if the lease is still there.
    """
    alias = settings.DATABASE
    with transaction.atomic(using=alias, durable=True):
        value = call()
        text = attempt.text_of(value)
        with connections[alias].cursor() as cursor:
            if not settle_own(cursor, worker_id, worker_name, outcome_of(text)):
                raise LeaseLost
    return attempt.succeeded(value, text)
