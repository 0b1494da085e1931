"""Pausing, resuming and purging queues."""

from __future__ import annotations

from datetime import datetime
from time import monotonic

from django.db import connections

from djqueue.conf import settings
from djqueue.control import revoke
from djqueue.exceptions import TaskRevokedError
from djqueue.models import Queue
from djqueue.serializers import encode_error
from djqueue.store.rearrange import first_in_line, purge
from djqueue.store.wakeup import wake

BATCH = 5_000
MOST_SECONDS = 20.0
"""Time for one request; what is left then is for the next."""


def pause(name: str, until: datetime) -> None:
    """Have workers claim nothing from a queue for a while."""
    Queue.objects.using(settings.DATABASE).filter(name=name).update(paused_until=until)


def resume(name: str) -> None:
    """Have workers go on with a queue."""
    Queue.objects.using(settings.DATABASE).filter(name=name).update(paused_until=None)
    connection = connections[settings.DATABASE]
    if not connection.in_atomic_block:
        wake(connection, name)


def drop_all_ready(queue: str) -> tuple[int, bool]:
    """Cancel what stands in line; return how many tasks, and whether time ran out before the line was empty."""
    error = encode_error(TaskRevokedError("purged"), with_traceback=False)
    end = monotonic() + MOST_SECONDS
    dropped = 0
    with connections[settings.DATABASE].cursor() as cursor:
        while batch := purge(cursor, queue, error, BATCH):
            dropped += batch
            if monotonic() > end:
                return dropped, True
        # What is left belongs to workflows, or is being claimed just now.
        while ids := first_in_line(cursor, queue, BATCH):
            cancelled = len(revoke(ids))
            dropped += cancelled
            if not cancelled or monotonic() > end:
                return dropped, bool(cancelled)
    return dropped, False
