"""Enqueue: from a call to a row. The only caller of ``store.insert``."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import datetime
from typing import Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from .conf import settings
from .records import NewTask
from .results import AsyncResult, EnqueuedIn
from .routing import check_priority, check_queue
from .serializers import encode_arguments
from .store.insert import insert, insert_chosen, insert_many, standing_cursor
from .store.wakeup import wake
from .uuid7 import as_task_id, new_task_id, new_task_ids

LONGEST_COUNTDOWN = 100 * 365.25 * 86400
IGNORE_RESULT = {True: '{"ignore_result":true}', False: '{"ignore_result":false}'}


def enqueue(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    *,
    queue: str | None = None,
    priority: int = 0,
    countdown: float | None = None,
    eta: datetime | None = None,
    task_id: str | None = None,
    ignored: bool = False,
    ignore_result: bool | None = None,
) -> AsyncResult:
    """Insert one task on the caller's connection and in its transaction.

    ``ignored`` says that the definition ignores results; ``ignore_result`` is what this call says instead.
    """
    args_text, kwargs_text = encode_arguments(name, args, kwargs)
    queue = settings.DEFAULT_QUEUE if queue is None else queue
    check_queue(queue)
    check_priority(priority)
    task = NewTask(
        new_task_id() if task_id is None else as_task_id(task_id),
        name,
        queue,
        priority,
        args_text,
        kwargs_text,
        None if ignore_result is None else IGNORE_RESULT[ignore_result],
        None if eta is None or countdown is not None else aware(eta),
    )
    connection = connections[settings.DATABASE]
    run_in = None if countdown is None else check_countdown(countdown)
    cursor = standing_cursor(connection)
    if task.run_at is None and run_in is None and task_id is None:
        insert(cursor, task)
    elif not insert_chosen(cursor, task, run_in):
        raise ValueError(f"expected task_id to be new, got: {task.id}, which belongs to a task already")
    enqueued_in = _announce(connection, queue, _due_in(task, countdown))
    return AsyncResult.enqueued(task.id, enqueued_in, ignored=ignored if ignore_result is None else ignore_result)


def enqueue_many(
    name: str,
    calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]],
    *,
    queue: str | None = None,
    priority: int = 0,
    ignored: bool = False,
    check: Callable[[Sequence[Any], Mapping[str, Any]], None] | None = None,
) -> list[AsyncResult]:
    """Insert a task for each pair of args and kwargs, all in one transaction."""
    queue = settings.DEFAULT_QUEUE if queue is None else queue
    check_queue(queue)
    check_priority(priority)
    ids: list[str] = []

    def rows() -> Iterator[NewTask]:
        for call, task_id in zip(calls, new_task_ids(), strict=False):
            args, kwargs = _arguments(name, call)
            if check is not None:
                check(args, kwargs)
            ids.append(task_id)
            yield NewTask(task_id, name, queue, priority, *encode_arguments(name, args, kwargs))

    connection = connections[settings.DATABASE]
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        insert_many(cursor, rows())
    if not ids:
        return []
    enqueued_in = _announce(connection, queue)
    return [AsyncResult.enqueued(task_id, enqueued_in, ignored=ignored) for task_id in ids]


def check_countdown(countdown: object) -> float:
    """Return ``countdown`` as seconds. Raises ``ValueError`` if it is not a number."""
    if isinstance(countdown, bool) or not isinstance(countdown, int | float) or not math.isfinite(countdown):
        raise ValueError(f"expected countdown to be a number of seconds, got: {countdown!r}")
    if abs(countdown) > LONGEST_COUNTDOWN:
        raise ValueError(f"expected countdown to be at most a hundred years in seconds, got: {countdown!r}")
    return float(countdown)


def aware(eta: object) -> datetime:
    """Return a datetime with a zone: a naive one is in the current time zone."""
    if not isinstance(eta, datetime):
        raise ValueError(f"expected eta to be a datetime, got: {eta!r}. For seconds from now use countdown.")
    return timezone.make_aware(eta) if timezone.is_naive(eta) else eta


def _announce(connection: BaseDatabaseWrapper, queue: str, due_in: float | None = None) -> EnqueuedIn | None:
    """Wake workers once the caller's transaction has committed, which is now if there is none; return it."""

    if connection.in_atomic_block:
        enqueued_in = EnqueuedIn()

        def committed() -> None:
            enqueued_in.committed = True
            wake(connection, queue, due_in)

        transaction.on_commit(committed, using=connection.alias, robust=True)
        return enqueued_in
    if connection.autocommit:
        wake(connection, queue, due_in)
    # else: the caller commits by hand, at a moment we cannot know; workers find the task by polling.
    return None


def _due_in(task: NewTask, countdown: float | None) -> float | None:
    if countdown is not None:
        return countdown
    return None if task.run_at is None else (task.run_at - timezone.now()).total_seconds()


def _arguments(name: str, call: object) -> tuple[Sequence[Any], Mapping[str, Any]]:
    match call:
        case (list() | tuple() as args, dict() as kwargs):
            return args, kwargs
    raise TypeError(
        f"expected delay_many of {name} to get pairs of args and kwargs, such as ((1, 2), {{}}), got: {call!r}"
    )
