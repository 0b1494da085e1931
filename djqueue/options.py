"""Options of definitions: which there are, what they may be, and what is refused by name."""

from __future__ import annotations

import inspect
import math
from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from .calls import UNIQUE, check_expires, check_limit, check_limits
from .routing import check_priority, check_queue
from .routing.topics import check_routing_key
from .schedules.declared import declare_task
from .unique import asks, check_template, check_unique

if TYPE_CHECKING:
    from .definition import TaskDefinition

HOOKS = ("before_start", "on_success", "on_failure", "on_retry", "after_return", "shadow_name")

BATCH_MOST = 10_000
FLAGS = (
    "ignore_result",
    "store_errors_even_if_ignored",
    "typing",
    "acks_late",
    "reject_on_worker_lost",
    "retry_on_worker_lost",
    "transactional",
    "track_started",
    "trail",
    "retry_jitter",
    "pydantic",
    "pydantic_strict",
)
ERRORS = ("autoretry_for", "dont_autoretry_for", "throws")
# Names that the machinery calls; a value in their place would break it far from here.
RESERVED = frozenset(
    [
        "delay",
        "apply_async",
        "apply",
        "retry",
        "run",
        "request",
        "update_state",
        "AsyncResult",
        "delay_many",
        "prepare",
        "typed_arguments",
        "limits",
    ]
)


def check_given(options: dict[str, Any]) -> None:
    """Raise ``TypeError`` for a keyword of ``@shared_task`` that cannot be an option."""
    for option in options:
        if option in RESERVED:
            raise TypeError(f"@shared_task: {option!r} is a method of definitions and cannot be an option")


def check_options(definition: TaskDefinition) -> None:
    """Raise ``TypeError`` or ``ValueError`` naming the first option whose value makes no sense."""
    name = definition.name
    if not isinstance(name, str):
        raise ValueError(f"expected the name of a task to be a non-empty string, got: {name!r}")
    _check_destination(definition)
    _check_unique(definition)
    _check_batch(definition)
    check_priority(definition.priority)
    if definition.serializer is not None and not isinstance(definition.serializer, str):
        raise TypeError(f"expected serializer of task {name} to be a name, got: {definition.serializer!r}")
    for option in ("pydantic_context", "pydantic_dump_kwargs"):
        value = getattr(definition, option)
        if value is not None and not isinstance(value, Mapping):
            raise TypeError(f"expected {option} of task {name} to be a dict, got: {value!r}")
    check_limits(definition.soft_time_limit, definition.time_limit)
    definition.soft_time_limit = check_limit("soft_time_limit", definition.soft_time_limit)
    definition.time_limit = check_limit("time_limit", definition.time_limit)
    if definition.expires is not None:
        check_expires(definition.expires)
    if definition.schedule is not None:
        declare_task(name, definition.schedule)
    for flag in FLAGS:
        value = getattr(definition, flag)
        if value is not None and not isinstance(value, bool | int):
            raise TypeError(f"expected {flag} of task {name} to be True or False, got: {value!r}")
    for option in ERRORS:
        _check_errors(name, option, getattr(definition, option))
    if definition.transactional and inspect.iscoroutinefunction(definition.run):
        raise TypeError(
            f"expected a function with transactional=True, got: the coroutine function {name}. Transactions of Django "
            "belong to a thread."
        )
    _check_retries(definition)
    size = definition.resultrepr_maxsize
    if isinstance(size, bool) or not isinstance(size, int) or size < 0:
        raise ValueError(f"expected resultrepr_maxsize of task {name} to be a number of characters, got: {size!r}")


def _check_destination(definition: TaskDefinition) -> None:
    name = definition.name
    if definition.queue is not None:
        check_queue(definition.queue)
    if definition.exchange is not None and not isinstance(definition.exchange, str):
        raise TypeError(f"expected exchange of task {name} to be the name of one, got: {definition.exchange!r}")
    if definition.queue is not None and definition.exchange:
        raise ValueError(f"expected task {name} to have a queue or an exchange, got both")
    if definition.routing_key is not None:
        check_routing_key(definition.routing_key)


def _check_unique(definition: TaskDefinition) -> None:
    options = {option: getattr(definition, option) for option in UNIQUE}
    options["unique"] = options["unique"] or None
    if asks(options):
        check_unique(definition.name, options)
        if definition.debounce is not None and definition.concurrency_ordered:
            raise TypeError(
                f"expected task {definition.name} to have debounce or concurrency_ordered, got both: each call would "
                "hold up all later ones of its stream"
            )
        if definition.unique_key is not None and definition.typing:
            check_template(definition)


def _check_batch(definition: TaskDefinition) -> None:
    name, size, wait = definition.name, definition.batch, definition.batch_wait
    if isinstance(wait, bool) or not isinstance(wait, int | float) or not 0 <= wait < math.inf:
        raise ValueError(f"expected batch_wait of task {name} to be a number of seconds, got: {wait!r}")
    if size is None:
        return
    if isinstance(size, bool) or not isinstance(size, int) or not 1 <= size <= BATCH_MOST:
        raise ValueError(f"expected batch of task {name} to be a whole number from 1 to {BATCH_MOST}, got: {size!r}")
    for option in ("transactional", "pydantic"):
        if getattr(definition, option):
            raise TypeError(f"expected task {name} to have batch or {option}, got both")
    if definition.at_most_once:
        raise TypeError(f"expected task {name} to have batch, or to run at most once, got both")
    limited = definition.concurrency_limit is not None or definition.concurrency_ordered
    slots = definition.concurrency_limit or 1
    if limited and definition.concurrency_key is None and size > slots:
        raise ValueError(
            f"expected batch of task {name} to be at most {slots}, because without a concurrency_key no more of its "
            f"tasks have a slot at once, got: {size}"
        )


def _check_errors(name: str, option: str, value: Any) -> None:
    kinds = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    for kind in kinds:
        if not (isinstance(kind, type) and issubclass(kind, BaseException)):
            raise TypeError(f"expected {option} of task {name} to hold exception classes, got: {value!r}")


def _check_retries(definition: TaskDefinition) -> None:
    name = definition.name
    for option in ("default_retry_delay", "retry_backoff_max", "retry_backoff"):
        value = getattr(definition, option)
        if isinstance(value, datetime) or not isinstance(value, bool | int | float) or value < 0:
            raise ValueError(f"expected {option} of task {name} to be a number of seconds, got: {value!r}")
    most = definition.max_retries
    if most is not None and (isinstance(most, bool) or not isinstance(most, int) or most < 0):
        raise ValueError(f"expected max_retries of task {name} to be a number of retries or None, got: {most!r}")
    allowed = {
        "countdown",
        "eta",
        "max_retries",
        "args",
        "kwargs",
        "throw",
        "queue",
        "priority",
        "expires",
        "headers",
        "serializer",
    }
    for option in definition.retry_kwargs:
        if option not in allowed:
            raise TypeError(f"expected retry_kwargs of task {name} to hold arguments of retry(), got: {option!r}")
