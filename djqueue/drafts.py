"""Drafts: from a call to the rows of its tasks, before they are inserted."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from django.utils import timezone

from . import registry
from .calls import aware, check_arguments, check_countdown, check_expires, stored_options
from .carried import with_carried
from .context import Request
from .destinations import defaults_of, filled, lines_of, queues_of, routed
from .limits import stream_of
from .records import NewTask
from .routing import check_priority
from .serializers import encode, encode_arguments
from .unique import asks, unique_of
from .uuid7 import as_task_id, new_task_id

if TYPE_CHECKING:
    from .definition import TaskDefinition


def with_defaults(
    definition: TaskDefinition, args: Sequence[Any], kwargs: dict[str, Any], options: Mapping[str, Any]
) -> dict[str, Any]:
    """Return the options of a call, and those of its definition that it leaves open."""
    given = filled(options, defaults_of(definition))
    if given.get("shadow") is None and definition.has_hook("shadow_name"):
        given["shadow"] = definition.shadow_name(args, kwargs, dict(options))
    return given


def new_task(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task_id: str | None,
    options: Mapping[str, Any],
    parent: Request | None,
    limits: dict[str, Any],
) -> NewTask:
    """Return the row of a task, its options checked and its arguments encoded.

    Raises ``ValueError`` if it would reach several queues: what it is for has one task in mind.
    """
    options = routed(name, args, kwargs, options)
    queue, *others = queues_of(options)
    if others:
        raise ValueError(
            f"expected {name} to reach one queue, because it is a step of a workflow or the task of a schedule, got: "
            + ", ".join([queue, *others])
        )
    return _row(name, args, kwargs, task_id, options, parent, limits, queue)


def new_tasks(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task_id: str | None,
    options: Mapping[str, Any],
    parent: Request | None,
    limits: dict[str, Any],
) -> list[NewTask]:
    """Return a task for each queue that a call with these options reaches, and each worker of a broadcast."""
    first, *others = (line for queue in queues_of(options) for line in lines_of(queue))
    if others and asks(options):
        raise ValueError(f"expected {name}, which is unique, to reach one queue, got: {', '.join([first, *others])}")
    task = _row(name, args, kwargs, task_id, options, parent, limits, first)
    return [task, *(task._replace(id=new_task_id(), queue=queue) for queue in others)]


def _row(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    task_id: str | None,
    options: Mapping[str, Any],
    parent: Request | None,
    limits: dict[str, Any],
    queue: str,
) -> NewTask:
    stored = with_carried({**stored_options(name, options), **limits}, name, queue)
    if (unique := unique_of(name, args, kwargs, options)) is not None:
        stored["unique_key"] = unique.key
    priority = 0 if options.get("priority") is None else options["priority"]
    check_priority(priority)
    eta, countdown, expires = options.get("eta"), options.get("countdown"), options.get("expires")
    countdown = options.get("debounce") if unique is not None and countdown is None else countdown
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
        stream_of(limits),
        unique,
    )


def dated(task: NewTask, now: datetime | None) -> NewTask:
    """Return a task whose expiry is a moment and not a number of seconds after ``now``."""
    if task.expires_in is None or now is None:
        return task
    return task._replace(expires_at=now + timedelta(seconds=task.expires_in), expires_in=None)


def copies_of(task: NewTask) -> list[NewTask]:
    """Return a task for each worker of a broadcast; most tasks are no broadcast."""
    lines = lines_of(task.queue)
    return [task._replace(queue=lines[0]), *(task._replace(id=new_task_id(), queue=line) for line in lines[1:])]


def prepare_by_name(
    name: str, args: Sequence[Any], kwargs: Mapping[str, Any], options: Mapping[str, Any], now: datetime
) -> NewTask:
    """Return the task that a call by name would insert at ``now``; nothing is stored yet.

    If this process knows the definition, its options stand in for those that are not given, and it checks the
    arguments. Raises what ``apply_async`` raises.
    """
    args, kwargs = check_arguments(name, args, kwargs)
    if (definition := registry.find(name)) is None:
        given = {option: value for option, value in options.items() if value is not None}
    else:
        if definition.typing:
            definition.check_call(args, kwargs)
        given = with_defaults(definition, args, kwargs, options)
    return dated(new_task(name, args, kwargs, None, given, None, limits_by_name(name, args, kwargs)), now)


def limits_by_name(name: str, *call: Any) -> dict[str, Any]:
    """Return the limits to store with a call, if this process knows the definition. Raises ``ValueError``."""
    return {} if (definition := registry.find(name)) is None else definition.limits.stored(*call)


def told_of(task: NewTask, args: Any, kwargs: Any, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the signals about a call say."""
    stored = json.loads(task.options) if task.options and '"stamped_headers"' in task.options else {}
    stamped, stamps = stored.get("stamped_headers", []), stored.get("stamps", {})
    headers = {"id": task.id, "task": task.name, "argsrepr": options.get("argsrepr")}
    return {
        "body": (args, kwargs, {}),
        "exchange": options.get("exchange") or "",
        "routing_key": options.get("routing_key") or task.queue,
        "headers": {**headers, "stamped_headers": stamped, "stamps": stamps},
        "properties": {name: value for name, value in options.items() if name not in {"stamped_headers", *stamped}},
    }
