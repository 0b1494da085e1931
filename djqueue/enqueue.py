"""Enqueue: from a call to a row. The only caller of ``store.insert``."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from . import registry, signals
from .calls import aware, check_arguments, check_countdown, check_expires, stored_options
from .conf import settings
from .context import Request, in_trail, running_request
from .records import NewTask
from .results import AsyncResult, EnqueuedIn
from .routing import check_priority, check_queue
from .serializers import decode_arguments, encode, encode_arguments
from .store.insert import database_now, insert, insert_chosen, insert_many, standing_cursor
from .store.wakeup import wake
from .uuid7 import as_task_id, new_task_id, new_task_ids

if TYPE_CHECKING:
    from .definition import TaskDefinition


def call(
    definition: TaskDefinition,
    args: Sequence[Any],
    kwargs: dict[str, Any],
    task_id: str | None,
    options: dict[str, Any],
) -> AsyncResult:
    """Insert one task on the caller's connection and in its transaction."""
    parent = running_request()
    stored, named = definition.typed_arguments.encode(args, kwargs)
    if not options and task_id is None and parent is None and _is_plain(definition):
        args_text, kwargs_text = encode_arguments(definition.name, stored, named)
        queue = settings.DEFAULT_QUEUE if definition.queue is None else definition.queue
        task = NewTask(new_task_id(), definition.name, queue, definition.priority, args_text, kwargs_text)
        check_queue(queue)
        connection = connections[settings.DATABASE]
        insert(standing_cursor(connection), task)
        return AsyncResult.enqueued(task.id, announce(connection, queue), ignored=definition.ignore_result)
    given = with_defaults(definition, args, kwargs, options)
    result = _publish(definition.name, stored, named, task_id, given, parent)
    if given.get("ignore_result") is None:
        result.ignored = definition.ignore_result
    return result


def with_defaults(
    definition: TaskDefinition, args: Sequence[Any], kwargs: dict[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of a call, and those of its definition that it leaves open."""
    given = {
        "queue": definition.queue,
        "priority": definition.priority,
        "expires": definition.expires,
        "serializer": definition.serializer,
    }
    given.update((option, value) for option, value in options.items() if value is not None)
    if given.get("shadow") is None and definition.has_hook("shadow_name"):
        given["shadow"] = definition.shadow_name(args, kwargs, dict(options))
    return given


def send_task(
    name: str,
    args: Sequence[Any] | None = None,
    kwargs: Mapping[str, Any] | None = None,
    task_id: str | None = None,
    **options: Any,
) -> AsyncResult:
    """Enqueue a task by its name, which this process need not know, on its own. Raises what ``apply_async`` raises."""
    check_name(name)
    args, kwargs = check_arguments(name, args, kwargs)
    return _publish(name, args, kwargs, task_id, options, running_request())


def check_name(name: object) -> None:
    """Raise ``ValueError`` for what is no name of a task."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected the name of a task, got: {name!r}")


def _is_plain(definition: TaskDefinition) -> bool:
    """Whether nothing is to be stored of a call but its arguments."""
    return (
        definition.expires is None
        and definition.serializer is None
        and not signals.before_task_publish.receivers
        and not signals.after_task_publish.receivers
        and not definition.has_hook("shadow_name")
    )


def _publish(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task_id: str | None,
    options: Mapping[str, Any],
    parent: Request | None,
) -> AsyncResult:
    trail = in_trail(options)
    task = new_task(name, args, kwargs, task_id, options if trail else {**options, "add_to_parent": False}, parent)
    told = told_of(task, args, kwargs, options)
    if signals.before_task_publish.receivers:
        signals.before_task_publish.send(name, **told)
    connection = connections[settings.DATABASE]
    if not insert_chosen(standing_cursor(connection), task):
        raise ValueError(f"expected task_id to be new, got: {task.id}, which belongs to a task already")
    enqueued_in = announce(connection, task.queue, _due_in(task))
    result = AsyncResult.enqueued(task.id, enqueued_in, ignored=bool(options.get("ignore_result")))
    if parent is not None and trail:
        parent.__dict__.setdefault("children", []).append(result)
    if signals.after_task_publish.receivers:
        signals.after_task_publish.send(name, **told)
    return result


def told_of(task: NewTask, args: Any, kwargs: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the signals about a call say."""
    stored = json.loads(task.options) if task.options and '"stamped_headers"' in task.options else {}
    stamped, stamps = stored.get("stamped_headers", []), stored.get("stamps", {})
    headers = {"id": task.id, "task": task.name, "argsrepr": options.get("argsrepr")}
    return {
        "body": (args, kwargs, {}),
        "exchange": "",
        "routing_key": task.queue,
        "headers": {**headers, "stamped_headers": stamped, "stamps": stamps},
        "properties": {name: value for name, value in options.items() if name not in {"stamped_headers", *stamped}},
    }


def new_task(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task_id: str | None,
    options: Mapping[str, Any],
    parent: Request | None,
) -> NewTask:
    """Return the row of a task, its options checked and its arguments encoded."""
    stored = stored_options(name, options)
    queue = options.get("queue")
    queue = settings.DEFAULT_QUEUE if queue is None else queue
    priority = options.get("priority")
    priority = 0 if priority is None else priority
    check_queue(queue)
    check_priority(priority)
    eta, countdown, expires = options.get("eta"), options.get("countdown"), options.get("expires")
    run_in = None if countdown is None else check_countdown(countdown)
    run_at = None if eta is None or run_in is not None else aware(eta)
    if due := run_at or (timezone.now() + timedelta(seconds=run_in) if run_in else None):
        stored["eta"] = due.isoformat()
    expires = None if expires is None else check_expires(expires)
    args_text, kwargs_text = encode_arguments(name, args, kwargs, options.get("serializer"))
    return NewTask(
        new_task_id() if task_id is None else as_task_id(task_id),
        name,
        queue,
        priority,
        args_text,
        kwargs_text,
        encode(stored) if stored else None,
        options.get("parent_id") or (None if parent is None else parent.id),
        options.get("root_id") or (None if parent is None else parent.root_id),
        expires if isinstance(expires, datetime) else None,
        expires if isinstance(expires, float) else None,
        run_at,
        run_in,
    )


def enqueue_many(
    definition: TaskDefinition, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]
) -> list[AsyncResult]:
    """Insert a task for each pair of args and kwargs, all in one transaction."""
    name = definition.name
    queue = settings.DEFAULT_QUEUE if definition.queue is None else definition.queue
    check_queue(queue)
    check = definition.check_call if definition.typing else None
    typed, serializer = definition.typed_arguments, definition.serializer
    connection = connections[settings.DATABASE]
    shared = _shared_by_all(definition, connection)
    ids: list[str] = []

    def rows() -> Iterator[NewTask]:
        for given, task_id in zip(calls, new_task_ids(), strict=False):
            args, kwargs = _arguments(name, given)
            if check is not None:
                check(args, kwargs)
            texts = encode_arguments(name, *typed.encode(args, kwargs), serializer)
            ids.append(task_id)
            yield NewTask(task_id, name, queue, definition.priority, *texts, *shared)

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        insert_many(cursor, rows())
    if not ids:
        return []
    enqueued_in = announce(connection, queue)
    return [AsyncResult.enqueued(task_id, enqueued_in, ignored=definition.ignore_result) for task_id in ids]


def _shared_by_all(definition: TaskDefinition, connection: BaseDatabaseWrapper) -> tuple[Any, ...]:
    """Return ``options parent_id root_id expires_at`` of tasks that are enqueued together."""
    parent = running_request()
    expires = None if definition.expires is None else check_expires(definition.expires)
    if isinstance(expires, float):
        expires = database_now(connection) + timedelta(seconds=expires)
    if parent is None:
        return None, None, None, expires
    options = None if in_trail({}) else encode({"add_to_parent": False})
    return options, parent.id, parent.root_id, expires


def announce(connection: BaseDatabaseWrapper, queue: str, due_in: float | None = None) -> EnqueuedIn | None:
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


def _due_in(task: NewTask) -> float | None:
    if task.run_in is not None:
        return task.run_in
    return None if task.run_at is None else float((task.run_at - timezone.now()).total_seconds())


def _arguments(name: str, call: object) -> tuple[Sequence[Any], Mapping[str, Any]]:
    match call:
        case (list() | tuple() as args, dict() as kwargs):
            return args, kwargs
    raise TypeError(
        f"expected delay_many of {name} to get pairs of args and kwargs, such as ((1, 2), {{}}), got: {call!r}"
    )


def prepare_by_name(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], now: datetime
) -> NewTask:
    """Return the task that a call by name would insert at ``now``; nothing is stored yet.

    If this process knows the definition, its options stand in for those that are not given, and it checks the
    arguments. Raises what ``apply_async`` raises.
    """
    args, kwargs = check_arguments(name, args, kwargs)
    given: dict[str, Any] = {}
    if (definition := registry.find(name)) is not None:
        given = {
            "queue": definition.queue,
            "priority": definition.priority,
            "expires": definition.expires,
            "serializer": definition.serializer,
        }
        if definition.typing:
            definition.check_call(args, kwargs)
    given.update((option, value) for option, value in options.items() if value is not None)
    task = new_task(name, args, kwargs, None, given, None)
    if task.expires_in is not None:
        task = task._replace(expires_at=now + timedelta(seconds=task.expires_in), expires_in=None)
    return task


def insert_prepared(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> None:
    """Insert prepared tasks in the caller's transaction, those that are ready at once in one statement."""
    for task in tasks:
        _tell_of(signals.before_task_publish, task)
    with connection.cursor() as cursor:
        insert_many(cursor, [task for task in tasks if task.run_in is None and task.run_at is None])
        for task in tasks:
            if task.run_in is not None or task.run_at is not None:
                insert_chosen(cursor, task)
    for queue in {task.queue for task in tasks}:
        announce(connection, queue)
    for task in tasks:
        _tell_of(signals.after_task_publish, task)


def _tell_of(signal: signals.Signal, task: NewTask) -> None:
    if signal.receivers:
        signal.send(task.name, **told_of(task, *decode_arguments(task.args, task.kwargs), {}))
