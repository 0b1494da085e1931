"""Pausing: queues, tasks and keys that nobody starts for a while."""

from __future__ import annotations

import math
from datetime import UTC, datetime, timedelta
from functools import partial

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from djqueue.conf import settings
from djqueue.routing import check_queue
from djqueue.states import PauseKind
from djqueue.store import pauses as store
from djqueue.store.pauses import Paused
from djqueue.store.wakeup import call_for_pauses, wake

FOREVER = datetime(9999, 1, 1, tzinfo=UTC)
"""The end of a pause that has none."""
LONGEST = 100 * 365.25 * 86400


def pause(
    *,
    queue: str | None = None,
    task: str | None = None,
    key: str | None = None,
    seconds: float | timedelta | None = None,
    until: datetime | None = None,
) -> datetime:
    """Let nobody start tasks of a queue, of a name or with a key for so many seconds, or until a time; return that.

    Without an end it is until ``resume``. Takes effect within a second, or when the transaction commits that is
    open; what runs goes on. Tasks can still be enqueued. A second call replaces the first.

    Raises ``ValueError`` unless exactly one of ``queue``, ``task`` and ``key`` is given, for an end that has passed,
    and for both kinds of end.
    """
    kind, name = _meant(queue, task, key)
    left, end = _end(seconds, until)
    connection = connections[settings.DATABASE]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        paused_until = store.pause(cursor, kind, name, until=end, seconds=left)
    _tell(connection)
    return paused_until


def resume(*, queue: str | None = None, task: str | None = None, key: str | None = None) -> bool:
    """End a pause; return whether there was one. Raises ``ValueError`` unless exactly one of the three is given."""
    kind, name = _meant(queue, task, key)
    connection = connections[settings.DATABASE]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        ended = store.resume(cursor, kind, name)
    _tell(connection)
    return ended


def paused() -> list[Paused]:
    """Return what is paused now: named tuples of ``kind`` (queue, task, key), ``name`` and ``until``."""
    with connections[settings.DATABASE].cursor() as cursor:
        return store.list_pauses(cursor)


def _meant(queue: str | None, task: str | None, key: str | None) -> tuple[str, str]:
    named = {"queue": queue, PauseKind.TASK.value: task, PauseKind.KEY.value: key}
    given = [(kind, name) for kind, name in named.items() if name is not None]
    if len(given) != 1:
        raise ValueError(f"expected one of queue, task and key, got: {', '.join(kind for kind, _ in given) or 'none'}")
    kind, name = given[0]
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"expected {kind} to be a name, got: {name!r}")
    if kind == "queue":
        check_queue(name)
    return kind, name


def _end(seconds: float | timedelta | None, until: datetime | None) -> tuple[float | None, datetime | None]:
    if seconds is not None and until is not None:
        raise ValueError("expected seconds or until, got both")
    if isinstance(seconds, timedelta):
        seconds = seconds.total_seconds()
    if seconds is not None:
        if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not math.isfinite(seconds):
            raise ValueError(f"expected seconds to be a number, got: {seconds!r}")
        if not 0 < seconds <= LONGEST:
            raise ValueError(f"expected seconds to be above 0 and at most a hundred years, got: {seconds!r}")
        return float(seconds), None
    if until is None:
        return None, FOREVER
    if not isinstance(until, datetime):
        raise ValueError(f"expected until to be a datetime, got: {until!r}")
    if timezone.is_naive(until):
        until = timezone.make_aware(until)
    if until <= timezone.now():
        raise ValueError(f"expected until to lie ahead, got: {until.isoformat()}")
    return None, until


def _tell(connection: BaseDatabaseWrapper) -> None:
    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(partial(_call, connection), using=connection.alias, robust=True)


def _call(connection: BaseDatabaseWrapper) -> None:
    call_for_pauses(connection)
    wake(connection, "", due_in=0.0)
