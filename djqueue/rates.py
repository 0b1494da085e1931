"""Rates: set rate limits while workers run."""

from __future__ import annotations

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from .conf import settings
from .limits import rate_text
from .routing import check_queue
from .store.rates import set_rate, wake_parked

TASK, QUEUE = 1, 2


def set_rate_limit(task: str, rate: str | float | None, *, strict: bool | None = None) -> None:
    """Let no more tasks of a name start in a time than ``rate`` says, in the whole cluster, within a second or two.

    ``rate`` is ``"10/s"``, ``"100/m"``, ``"5/h"``, ``"1000/d"`` or a number a second; 0 for no limit; None for what the
    definition declares. It also holds for tasks that were enqueued before, and until it is changed again.
    Raises ``ValueError`` for anything else.
    """
    if not isinstance(task, str) or not task:
        raise ValueError(f"expected the name of a task, got: {task!r}")
    _set(TASK, task, rate, strict)


def set_queue_rate_limit(queue: str, rate: str | float | None, *, strict: bool | None = None) -> None:
    """The same for all tasks of a queue together; None for no limit. Refuses broadcast queues."""
    check_limited_queue(queue)
    _set(QUEUE, queue, rate, strict)


def check_limited_queue(queue: str) -> None:
    """Raise ``ValueError`` unless a rate limit of a queue of this name would hold."""
    check_queue(queue)
    if queue in settings.BROADCAST_QUEUES:
        raise ValueError(
            "expected a queue that is no broadcast queue, because copies stand in a line of each worker (limit the "
            f"task instead), got: {queue!r}"
        )


def _set(kind: int, name: str, rate: str | float | None, strict: bool | None) -> None:
    connection = connections[settings.DATABASE]
    with connection.cursor() as cursor:
        set_rate(cursor, kind, name, rate_text(rate), strict=strict)
    has_changed(connection, kind, name)


def has_changed(connection: BaseDatabaseWrapper, kind: int, name: str) -> None:
    """Let a limit that was changed or deleted act on what is parked as soon as the transaction has committed."""

    def wake() -> None:
        with connection.cursor() as cursor:
            wake_parked(cursor, kind, name)

    transaction.on_commit(wake, using=connection.alias)
