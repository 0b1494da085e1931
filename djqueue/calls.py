"""Calls: what ``apply_async`` may be asked, checked and put into the form in which it is stored."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.utils import timezone

from .limits import LIMITS
from .planned import Errbacks
from .routing import check_priority, check_queue

LONGEST_COUNTDOWN = 100 * 365.25 * 86400
PLACING = frozenset(
    [
        "countdown",
        "eta",
        "expires",
        "queue",
        "priority",
        "task_id",
        "root_id",
        "parent_id",
        "serializer",
        "group_id",
        "group_index",
        "unique",
        "unique_key",
        "unique_until",
        "unique_for",
        "unique_action",
        "debounce",
        "debounce_max",
    ]
)
"""Options that have columns of their own, or decide where the task goes and how it is stored."""
UNIQUE = tuple(option for option in sorted(PLACING) if option.startswith(("unique", "debounce")))
KEPT = frozenset(
    [
        "add_to_parent",
        "ignore_result",
        "headers",
        "shadow",
        "argsrepr",
        "kwargsrepr",
        "time_limit",
        "soft_time_limit",
        "replaced_task_nesting",
        "djqueue_link",
        "exchange",
        "routing_key",
    ]
)
"""Options that are stored as they are."""
LINKING = frozenset(["link", "link_error", "group_id", "group_index", "chain", "chord"])
"""Options that make a task part of a workflow."""


def check_arguments(name: str, args: object, kwargs: object) -> tuple[Sequence[Any], dict[str, Any]]:
    """Return args as a list or tuple and kwargs as a dict. Raises ``TypeError`` for anything else."""
    if args is None:
        args = ()
    elif isinstance(args, str | bytes) or not isinstance(args, Iterable):
        raise TypeError(f"expected args of {name} to be a list or tuple, got: {args!r}")
    if kwargs is None:
        kwargs = {}
    elif not isinstance(kwargs, Mapping) or not all(isinstance(key, str) for key in kwargs):
        raise TypeError(f"expected kwargs of {name} to be a dict with names as keys, got: {kwargs!r}")
    return (args if isinstance(args, list | tuple) else tuple(args)), dict(kwargs)


def check_countdown(countdown: object) -> float:
    """Return ``countdown`` as seconds. Raises ``ValueError`` if it is not a number."""
    if isinstance(countdown, timedelta):
        countdown = countdown.total_seconds()
    if isinstance(countdown, bool) or not isinstance(countdown, int | float) or not math.isfinite(countdown):
        raise ValueError(f"expected countdown to be a number of seconds, got: {countdown!r}")
    if abs(countdown) > LONGEST_COUNTDOWN:
        raise ValueError(f"expected countdown to be at most a hundred years in seconds, got: {countdown!r}")
    return float(countdown)


def aware(eta: object) -> datetime:
    """Return a datetime with a zone: a naive one is in the current time zone."""
    if isinstance(eta, str):
        try:
            eta = datetime.fromisoformat(eta)
        except ValueError:
            raise ValueError(f"expected eta to be a datetime or its ISO text, got: {eta!r}") from None
    if not isinstance(eta, datetime):
        raise ValueError(f"expected eta to be a datetime, got: {eta!r}. For seconds from now use countdown.")
    return timezone.make_aware(eta) if timezone.is_naive(eta) else eta


def check_expires(expires: object) -> float | datetime:
    """Return ``expires`` as seconds from now or as an aware datetime. Raises ``ValueError`` for anything else."""
    if isinstance(expires, datetime | str):
        try:
            return aware(expires)
        except ValueError:
            raise ValueError(f"expected expires to be seconds or a datetime, got: {expires!r}") from None
    try:
        return check_countdown(expires)
    except ValueError:
        raise ValueError(f"expected expires to be a number of seconds or a datetime, got: {expires!r}") from None


def check_limit(what: str, limit: object) -> float | None:
    """Return a time limit in seconds, None for none. Raises ``ValueError`` unless it is a number above 0."""
    if isinstance(limit, timedelta):
        limit = limit.total_seconds()
    if limit is None:
        return None
    if isinstance(limit, bool) or not isinstance(limit, int | float) or not 0 < limit < math.inf:
        raise ValueError(f"expected {what} to be a number of seconds above 0, got: {limit!r}")
    return float(limit)


def check_limits(soft: object, hard: object) -> None:
    """Raise ``ValueError`` for limits that are no durations, or a soft one that could never be reached."""
    soft, hard = check_limit("soft_time_limit", soft), check_limit("time_limit", hard)
    if soft is not None and hard is not None and soft > hard:
        raise ValueError(f"expected soft_time_limit to be at most time_limit ({hard:g} s), got: {soft:g}")


def check_call_limits(definition: Any, options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` for time limits of a call that make no sense with those of its definition."""
    soft, hard = options.get("soft_time_limit"), options.get("time_limit")
    if soft is not None or hard is not None:
        check_limits(
            definition.soft_time_limit if soft is None else soft, definition.time_limit if hard is None else hard
        )


def stored_options(name: str, options: Mapping[str, Any]) -> dict[str, Any]:
    """Return what of a call's options is stored with the task; see ``PLACING`` for the others.

    An option that is None is as good as left out. Unknown ones become ``properties``, as in Celery. Raises
    ``TypeError`` or ``ValueError`` for what cannot be honoured.
    """
    stored: dict[str, Any] = {}
    stamped = set(options.get("stamped_headers") or ())
    for option, value in options.items():
        if value is None or option in PLACING:
            continue
        if option in LIMITS:
            raise TypeError(f"apply_async of {name}: {option!r} is an option of @shared_task, not of a call")
        if option == "add_to_parent":
            if not value:
                stored[option] = False
        elif option in LINKING:
            if not isinstance(value, Errbacks):
                raise TypeError(f"{name}: expected option {option!r} in apply_async or in a signature, not here")
            stored[option] = value
        elif option in KEPT:
            stored[option] = _checked(option, value)
        elif option == "stamped_headers":
            stored[option] = sorted(stamped)
        elif option in stamped:
            stored.setdefault("stamps", {})[option] = value
        else:
            stored.setdefault("properties", {})[option] = value
    if "soft_time_limit" in stored:
        check_limits(stored["soft_time_limit"], stored.get("time_limit"))
    return stored


def _checked(option: str, value: Any) -> Any:
    if option in ("ignore_result", "djqueue_link"):
        return bool(value)
    if option == "replaced_task_nesting":
        return int(value)
    if option in ("time_limit", "soft_time_limit"):
        return check_limit(option, value)
    if option == "headers":
        if not isinstance(value, Mapping) or not all(isinstance(key, str) for key in value):
            raise TypeError(f"expected headers to be a dict with names as keys, got: {value!r}")
        return dict(value)
    if not isinstance(value, str):
        raise TypeError(f"expected {option} to be a string, got: {value!r}")
    return value


def check_retry_options(name: str, options: Mapping[str, Any]) -> None:
    """Raise ``ValueError`` or ``TypeError`` for an option that a retry cannot change."""
    for option in ("task_id", *sorted(LINKING)):
        if option in options:
            raise TypeError(f"a retry of {name} keeps its {option}")
    for option in ("exchange", "routing_key", *UNIQUE):
        if options.get(option) is not None:
            raise TypeError(f"a retry of {name} keeps its key, and may name a queue, but no {option}")
    if options.get("queue") is not None:
        check_queue(options["queue"])
    if options.get("priority") is not None:
        check_priority(options["priority"])
    stored_options(name, options)
