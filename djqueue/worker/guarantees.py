"""Guarantees: tasks that run at most once, or exactly once. Only these let their executor speak to the database.

It does so on the task's own Django connection to the database of the queue.
"""

from __future__ import annotations

import logging
from collections.abc import Callable
from time import monotonic, sleep
from typing import Any

from django.db import DatabaseError, InterfaceError, connections, transaction

from djqueue.attempt import Attempt, Ended
from djqueue.conf import settings
from djqueue.records import Claim, Outcome
from djqueue.store.guarantee import is_held, mark_started, settle_own

from .seat import Seat

logger = logging.getLogger("djqueue.worker")

PAUSE = 1.0
"""Seconds before a task goes back whose start the database did not take."""


class GivenBack(Exception):
    """The attempt did not start, or nothing is left of it: it goes back in line, if it is still ours."""


def start_once(claim: Claim, worker_id: int) -> None:
    """Store that the attempt has started, so that it fails rather than run twice. Raises ``GivenBack``."""
    try:
        with connections[settings.DATABASE].cursor() as cursor:
            held = mark_started(cursor, worker_id, claim.id, claim.attempt)
    except (DatabaseError, InterfaceError) as error:
        logger.warning("the start of %s[%s] could not be stored (%s); it goes back", claim.name, claim.id, error)
        sleep(PAUSE)  # it would come back at once
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
    settled = False
    try:
        with transaction.atomic(using=alias, durable=True):
            value = call()
            text = attempt.text_of(value)
            if ignored:
                outcome = Outcome.forgotten(claim.id, claim.attempt, started, monotonic())
            else:
                outcome = Outcome.succeeded(claim.id, claim.attempt, text, started, monotonic())
            with connections[alias].cursor() as cursor:
                if not settle_own(
                    cursor, seat.worker_id, seat.hostname, outcome, concerns_others=claim.concerns_others
                ):
                    raise GivenBack
            settled = True
    except Exception as error:
        if not settled or not _has_committed(claim, seat):
            raise
        logger.error("what was to follow the commit of %s[%s] raised", claim.name, claim.id, exc_info=error)
    return attempt.succeeded(value, text)


def _has_committed(claim: Claim, seat: Seat) -> bool:
    """Whether the settled attempt is stored: callbacks of ``on_commit`` may raise when all is done."""
    try:
        with connections[settings.DATABASE].cursor() as cursor:
            return not is_held(cursor, seat.worker_id, claim.id, claim.attempt)
    except (DatabaseError, InterfaceError):
        return False
