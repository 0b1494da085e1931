"""Purging: drop what waits in line."""

from __future__ import annotations

from collections.abc import Sequence

from django.db import connections, transaction

from djqueue.conf import settings
from djqueue.exceptions import TaskRevokedError
from djqueue.routing import check_queue
from djqueue.serializers import encode_error
from djqueue.store.cancel import cancel
from djqueue.store.lines import BEFORE_ALL, next_in_line, queue_lines

BATCH = 5000


def purge(queues: str | Sequence[str] | None = None) -> int:
    """Cancel every task that is in line in these queues, or in all; return how many.

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
    error = encode_error(TaskRevokedError("purged"), with_traceback=False)
    connection = connections[settings.DATABASE]
    purged, after = 0, BEFORE_ALL
    while True:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            ids, after = next_in_line(cursor, queue, after, BATCH)
            if not ids:
                return purged
            cancel(cursor, ids, error, terminate=False)
            purged += len(ids)
