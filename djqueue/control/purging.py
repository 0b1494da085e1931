"""Purging: drop what waits in line."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from time import monotonic

from django.db import connections, transaction

from djqueue.conf import settings
from djqueue.exceptions import TaskRevokedError
from djqueue.routing import check_queue, front_of
from djqueue.serializers import encode_error
from djqueue.store.cancel import cancel
from djqueue.store.lines import BEFORE_ALL, BEFORE_PARKED, next_parked, purge_line, queue_lines

BATCH = 5000


def purge(queues: str | Sequence[str] | None = None) -> int:
    """Cancel every task that is in line in these queues, or in all, or that a limit holds back; return how many.

    They end as REVOKED, so whoever waits for one learns of it, as do the later steps of their workflows. What runs, or
    is not due yet, stays. Raises ``ValueError`` for what is no queue's name.
    """
    names = [queues] if isinstance(queues, str) else queues
    for name in names or ():
        check_queue(name)
    if names is None:
        with connections[settings.DATABASE].cursor() as cursor:
            names = [line.name for line in queue_lines(cursor)]
    return sum(purge_for(name)[0] for name in names)


def purge_for(queue: str, longest: float = math.inf) -> tuple[int, bool]:
    """``purge`` one queue for so many seconds; return how many tasks ended, and whether some may be left."""
    end = monotonic() + longest
    purged = 0
    for batch in _batches(queue):
        purged += batch
        if monotonic() > end:
            return purged, True
    return purged, False


def _batches(queue: str) -> Iterator[int]:
    # What is parked goes first: it would pass where a slot becomes free.
    yield from _parked(queue)
    for line in (front_of(queue), queue):
        yield from _in_line(line)


def _parked(queue: str) -> Iterator[int]:
    error, after = _error(), BEFORE_PARKED
    connection = connections[settings.DATABASE]
    while True:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            found = next_parked(cursor, queue, after, BATCH)
            if not found.ids:
                return
            cancel(cursor, found.ids, error, terminate=False, among=found.among)
            after = found.last
        yield len(found.ids)


def _in_line(line: str) -> Iterator[int]:
    error, after = _error(), BEFORE_ALL
    connection = connections[settings.DATABASE]
    while True:
        with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
            tasks, joined = purge_line(cursor, line, after, error, BATCH)
            if not tasks:
                return
            if joined.ids:
                cancel(cursor, joined.ids, error, terminate=False, among=joined.among)
            after = joined.last
        yield tasks


def _error() -> str:
    return encode_error(TaskRevokedError("purged"), with_traceback=False)
