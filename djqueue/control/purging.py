"""Purging: drop what waits in line."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

from django.db import connections, transaction

from djqueue.conf import settings
from djqueue.exceptions import TaskRevokedError
from djqueue.routing import check_queue, front_of
from djqueue.serializers import encode_error
from djqueue.store.cancel import cancel
from djqueue.store.lines import BEFORE_ALL, BEFORE_PARKED, Stretch, next_in_line, next_parked, queue_lines

BATCH = 5000


def purge(queues: str | Sequence[str] | None = None) -> int:
    """Cancel every task that is in line in these queues, or in all, or that a limit holds back; return how many.

    They end as REVOKED, so whoever waits for one learns of it, as do the later steps of their workflows. What runs, or
    is not due yet, stays. Raises ``ValueError`` for what is no queue's name.
    """
    names = [queues] if isinstance(queues, str) else queues
    for name in names or ():
        check_queue(name)
    connection = connections[settings.DATABASE]
    with connection.cursor() as cursor:
        if names is None:
            names = [line.name for line in queue_lines(cursor)]
        return sum(_purge(name) for name in names)


def _purge(queue: str) -> int:
    # What is parked goes first: it would pass where a slot becomes free.
    purged = _drop(partial(next_parked, queue=queue), BEFORE_PARKED)
    return purged + sum(_drop(partial(next_in_line, queue=line), BEFORE_ALL) for line in (front_of(queue), queue))


def _drop(look: Callable[..., Stretch], after: Any) -> int:
    error = encode_error(TaskRevokedError("purged"), with_traceback=False)
    connection = connections[settings.DATABASE]
    purged = 0
    while True:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            found = look(cursor, after=after, limit=BATCH)
            if not found.ids:
                return purged
            cancel(cursor, found.ids, error, terminate=False, among=found.among)
            after = found.last
            purged += len(found.ids)
