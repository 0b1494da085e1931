"""Enqueue: from a call to a row. The only caller of ``store.insert``."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.utils import timezone

from . import signals
from .calls import check_arguments, check_expires
from .carried import carriers, with_carried
from .conf import settings
from .context import Request, in_trail, running_request
from .destinations import defaults_of, filled, plain_place, routed
from .drafts import copies_of, dated, limits_by_name, new_tasks, told_of, with_defaults
from .exceptions import TaskExists
from .limits import stream_of
from .records import NewTask
from .results import AsyncResult, EnqueuedIn, result_of
from .serializers import decode_arguments, encode, encode_arguments
from .store.insert import database_now, insert, insert_chosen, insert_many, standing_cursor
from .store.unique import insert_unique
from .store.wakeup import wake
from .unique import asks
from .uniqueness import Action, Answer, Did
from .uuid7 import new_task_id, new_task_ids

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
    if (
        not options
        and task_id is None
        and parent is None
        and _is_plain(definition)
        and (place := plain_place(definition))
    ):
        args_text, kwargs_text = encode_arguments(definition.name, stored, named)
        queue = place[0]
        task = NewTask(new_task_id(), definition.name, *place, args_text, kwargs_text)
        connection = connections[settings.DATABASE]
        insert(standing_cursor(connection), task)
        return AsyncResult.enqueued(task.id, announce(connection, queue), ignored=definition.ignore_result)
    given = with_defaults(definition, args, kwargs, options)
    result = _publish(definition.name, stored, named, task_id, given, parent, definition.limits.stored(args, kwargs))
    result.ignored = definition.ignore_result if given.get("ignore_result") is None else result.ignored
    return result


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
    return _publish(name, args, kwargs, task_id, options, running_request(), limits_by_name(name, args, kwargs))


def check_name(name: object) -> None:
    """Raise ``ValueError`` for what is no name of a task."""
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected the name of a task, got: {name!r}")


def _is_plain(definition: TaskDefinition) -> bool:
    """Whether nothing is to be stored of a call but its arguments."""
    return (
        definition.expires is None
        and definition.serializer is None
        and not definition.limits.stores
        and not signals.before_task_publish.receivers
        and not signals.after_task_publish.receivers
        and not carriers
        and not definition.has_hook("shadow_name")
    )


def _publish(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task_id: str | None,
    options: Mapping[str, Any],
    parent: Request | None,
    limits: dict[str, Any],
) -> AsyncResult:
    options = routed(name, args, kwargs, options)
    trail = in_trail(options)
    kept = options if trail else {**options, "add_to_parent": False}
    tasks = new_tasks(name, args, kwargs, task_id, kept, parent, limits)
    told = told_of(tasks[0], args, kwargs, options)
    if signals.before_task_publish.receivers:
        signals.before_task_publish.send(name, **told)
    connection = connections[settings.DATABASE]
    answers = _insert(connection, tasks)
    told_at = [announce(connection, task.queue, _due_in(task)) for task in tasks]
    result = result_of(answers, told_at, ignored=bool(options.get("ignore_result")))
    if parent is not None and trail:
        parent.__dict__.setdefault("children", []).append(result)
    if signals.after_task_publish.receivers:
        signals.after_task_publish.send(name, **told)
    return result


def _insert(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> list[Answer]:
    """Insert the tasks of one call. Raises ``ValueError`` for an id that is taken, or ``TaskExists``."""
    if len(tasks) > 1:
        with transaction.atomic(using=connection.alias):
            return [answer for task in tasks for answer in _insert(connection, [task])]
    cursor = standing_cursor(connection)
    if tasks[0].unique is not None:
        answers = insert_unique(cursor, tasks)
        _refuse(tasks, answers)
        return answers
    if not insert_chosen(cursor, tasks[0]):
        raise ValueError(f"expected task_id to be new, got: {tasks[0].id}, which belongs to a task already")
    return [Answer(tasks[0].id)]


def _refuse(tasks: Sequence[NewTask], answers: Sequence[Answer]) -> None:
    for task, answer in zip(tasks, answers, strict=True):
        if answer.did is Did.REFUSED:
            raise ValueError(f"expected task_id to be new, got: {task.id}, which belongs to a task already")
        if task.unique is not None and task.unique.action is Action.ERROR and answer.did is Did.FOUND:
            raise TaskExists(f"the unique key {task.unique.key!r} is held by the task {answer.task_id}", answer.task_id)


def enqueue_many(
    definition: TaskDefinition, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]
) -> list[AsyncResult]:
    """Insert a task for each pair of args and kwargs, all in one transaction."""
    place = plain_place(definition)
    arguments = _stored_arguments(definition, calls)
    if place is None:
        return _enqueue_each(definition, arguments)
    name, serializer = definition.name, definition.serializer
    connection = connections[settings.DATABASE]
    options, *shared = _shared_by_all(definition, place[0], connection)
    ids: list[str] = []

    def rows() -> Iterator[NewTask]:
        for (args, kwargs, limits), task_id in zip(arguments, new_task_ids(), strict=False):
            texts = encode_arguments(name, args, kwargs, serializer)
            ids.append(task_id)
            own = {**options, **limits}
            task = NewTask(task_id, name, *place, *texts, encode(own) if own else None, *shared)
            yield task._replace(stream=stream_of(own)) if "gate" in own else task

    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        insert_many(cursor, rows())
    if not ids:
        return []
    enqueued_in = announce(connection, place[0])
    return [AsyncResult.enqueued(task_id, enqueued_in, ignored=definition.ignore_result) for task_id in ids]


def _stored_arguments(
    definition: TaskDefinition, calls: Iterable[tuple[Sequence[Any], Mapping[str, Any]]]
) -> Iterator[tuple[Any, Any, dict[str, Any]]]:
    """Yield args and kwargs as they are stored, and the limits of each call."""
    check = definition.check_call if definition.typing else None
    for given in calls:
        args, kwargs = _arguments(definition.name, given)
        if check is not None:
            check(args, kwargs)
        yield *definition.typed_arguments.encode(args, kwargs), definition.limits.stored(args, kwargs)


def _enqueue_each(
    definition: TaskDefinition, arguments: Iterable[tuple[Any, Any, dict[str, Any]]]
) -> list[AsyncResult]:
    """Insert tasks of which each may go elsewhere, or be there already."""
    connection = connections[settings.DATABASE]
    now = database_now(connection)
    stated = filled({}, defaults_of(definition))
    parent = running_request()
    trail = {} if in_trail({}) else {"add_to_parent": False}
    name = definition.name
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        found = [
            [
                dated(task, now)
                for task in new_tasks(
                    name, args, kwargs, None, {**routed(name, args, kwargs, stated), **trail}, parent, limits
                )
            ]
            for args, kwargs, limits in arguments
        ]
        tasks = [task for copies in found for task in copies]
        answers: dict[str, Answer] = {}
        if tasks and asks(stated):
            answers = dict(zip([task.id for task in tasks], insert_unique(cursor, tasks), strict=True))
            _refuse(tasks, list(answers.values()))
        else:
            insert_many(cursor, tasks)
    told = {queue: announce(connection, queue) for queue in {task.queue for task in tasks}}
    return [
        result_of(
            [answers.get(task.id) or Answer(task.id) for task in copies],
            [told[task.queue] for task in copies],
            ignored=definition.ignore_result,
        )
        for copies in found
    ]


def _shared_by_all(definition: TaskDefinition, queue: str, connection: BaseDatabaseWrapper) -> tuple[Any, ...]:
    """Return ``options parent_id root_id expires_at`` of tasks that are enqueued together."""
    parent, options = running_request(), with_carried({}, definition.name, queue)
    expires = None if definition.expires is None else check_expires(definition.expires)
    if isinstance(expires, float):
        expires = database_now(connection) + timedelta(seconds=expires)
    if parent is None:
        return options, None, None, expires
    options |= {} if in_trail({}) else {"add_to_parent": False}
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


def insert_prepared(connection: BaseDatabaseWrapper, tasks: Sequence[NewTask]) -> dict[str, str]:
    """Insert prepared tasks in the caller's transaction, those that are ready at once in one statement.

    A unique one whose key is held is not inserted: the answer has the ids of those that were found instead.
    """
    for task in tasks:
        _tell_of(signals.before_task_publish, task)
    found: dict[str, str] = {}
    tasks = [copy for task in tasks for copy in copies_of(task)]
    plain = [task for task in tasks if task.unique is None]
    with connection.cursor() as cursor:
        insert_many(cursor, [task for task in plain if task.run_in is None and task.run_at is None])
        for task in plain:
            if task.run_in is not None or task.run_at is not None:
                insert_chosen(cursor, task)
        if unique := [task for task in tasks if task.unique is not None]:
            for task, answer in zip(unique, insert_unique(cursor, unique), strict=True):
                if answer.did is not Did.INSERTED:
                    found[task.id] = answer.task_id
    for queue in {task.queue for task in tasks}:
        announce(connection, queue)
    for task in tasks:
        if task.id not in found:
            _tell_of(signals.after_task_publish, task)
    return found


def _tell_of(signal: signals.Signal, task: NewTask) -> None:
    if signal.receivers:
        signal.send(task.name, **told_of(task, *decode_arguments(task.args, task.kwargs), {}))
