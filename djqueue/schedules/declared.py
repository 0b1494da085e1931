"""Declared schedules: entries of ``DJQUEUE["SCHEDULES"]`` (Celery's ``beat_schedule``) and of ``@shared_task``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime, timedelta
from typing import Any

from django.utils import timezone

from djqueue.calls import LONGEST_COUNTDOWN, check_arguments, check_expires, stored_options
from djqueue.conf import did_you_mean
from djqueue.exceptions import EncodeError
from djqueue.routing import check_priority, check_queue
from djqueue.serializers import encode

from .checks import check_moment, check_name, check_span, check_text, check_zone
from .cronlines import cron
from .crontabs import crontab
from .intervals import schedule
from .rules import MISFIRE_LIMIT, MOST_MISFIRES, Misfire, Overlap
from .stored import When, when_of
from .timing import Timing

DECIDED_BY_BEAT = ("eta", "countdown", "task_id", "expires", "queue", "priority")
"""Options of a call that stand in no schedule's ``options``: columns of their own, or the beat's to decide."""
OF_WORKFLOWS = (
    "link", "link_error", "chain", "chord", "group_id", "group_index", "root_id", "parent_id", "replaced_task_nesting",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Declaration:
    """A schedule as declared in code, checked. Times in seconds are ``timedelta``."""

    name: str
    task: str
    when: When
    args: list[Any] = field(default_factory=list)
    kwargs: dict[str, Any] = field(default_factory=dict)
    queue: str = ""
    priority: int | None = None
    options: dict[str, Any] = field(default_factory=dict)
    timezone: str = ""
    start_at: datetime | None = None
    end_at: datetime | None = None
    expires: timedelta | None = None
    jitter: timedelta = timedelta(0)
    misfire: int = Misfire.ONCE
    misfire_limit: int = MISFIRE_LIMIT
    overlap: int = Overlap.ALLOW
    one_off: bool = False
    enabled: bool = True
    description: str = ""

    def values(self) -> dict[str, Any]:
        """Return all but the name, each as JSON can hold it, to be compared with what was declared before."""
        return {name: as_json(getattr(self, name)) for name in VALUES}


VALUES = tuple(f.name for f in fields(Declaration) if f.name != "name")
KEYS = (*(name for name in VALUES if name != "when"), "schedule", "relative")


def as_json(value: Any) -> Any:
    """Return a column's value as JSON holds it."""
    match value:
        case When():
            return value.as_json()
        case datetime():
            return value.astimezone(UTC).isoformat()
        case timedelta():
            return value.total_seconds()
    return value


def declare(name: str, given: object) -> Declaration:
    """Check one entry, shaped as in Celery's ``beat_schedule``. Raises ``ValueError`` naming entry and key."""
    if not isinstance(name, str) or not name.strip():
        raise ValueError(f"expected the name of a schedule to be a non-empty string, got: {name!r}")
    check_name(name)
    if not isinstance(given, Mapping):
        raise ValueError(f"schedule {name!r}: expected a dict with 'task' and 'schedule', got: {given!r}")
    for key in given:
        if key not in KEYS:
            raise ValueError(f"schedule {name!r}: unknown key {key!r}. {did_you_mean(key, KEYS)}")
    values: dict[str, Any] = {}
    options = given.get("options") or {}
    if not isinstance(options, Mapping):
        raise ValueError(f"schedule {name!r}: expected options to be a dict, got: {options!r}")
    # Celery says these as options of the call; here they are columns, which an operator can see and change.
    given = {**{key: options[key] for key in ("queue", "priority", "expires") if key in options}, **given}
    given["options"] = {key: value for key, value in options.items() if key not in ("queue", "priority", "expires")}
    for key, check in CHECKS.items():
        if key in ("task", "schedule") or given.get(key) is not None:
            try:
                values[key] = check(given.get(key))
            except (TypeError, ValueError, ImportError, EncodeError) as error:
                raise ValueError(f"schedule {name!r}, {key}: {error}") from None
    timing = values.pop("schedule")
    return _assembled(name, timing, bool(given.get("relative")), values)


def declare_task(task: str, given: object) -> Declaration:
    """Check what ``@shared_task(schedule=...)`` was given: when, or a dict of what ``SCHEDULES`` takes as well.

    The schedule is named after the task unless the dict has a ``name``. Raises ``ValueError``.
    """
    entry = dict(given) if isinstance(given, Mapping) else {"schedule": given}
    name: Any = entry.pop("name", task)
    if "task" in entry:
        raise ValueError(f"schedule {name!r}: expected no 'task' in the schedule of a task, got: {entry['task']!r}")
    return declare(name, {**entry, "task": task})


def _assembled(name: str, timing: Timing, relative: bool, values: dict[str, Any]) -> Declaration:
    if relative:
        if not isinstance(timing, schedule):
            raise ValueError(f"schedule {name!r}: expected relative only with an interval, got: {timing!r}")
        timing = schedule(timing.run_every, relative=True)
    values.pop("relative", None)
    if isinstance(values.get("expires"), datetime):
        # A moment after which nothing is to run any more is the end of the schedule.
        values["end_at"] = min(values.pop("expires"), values.get("end_at") or datetime.max.replace(tzinfo=UTC))
    return Declaration(name=name, when=when_of(timing), **values)


def read_timing(given: object) -> Timing:
    """Return what an entry may say under ``schedule``: a timing, seconds, a ``timedelta`` or a cron string."""
    if isinstance(given, Timing):
        return given
    if isinstance(given, str):
        return cron(given)
    if hasattr(given, "_orig_minute"):  # Celery's own crontab, in a project that is on its way
        names = ("minute", "hour", "day_of_week", "day_of_month", "month_of_year")
        return crontab(*(getattr(given, f"_orig_{name}") for name in names))
    if hasattr(given, "run_every") and hasattr(given, "relative"):
        return schedule(given.run_every, bool(given.relative))
    if isinstance(given, int | float | timedelta) and not isinstance(given, bool):
        return schedule(given)
    raise TypeError(f"expected crontab(...), seconds, a timedelta, a cron string, solar or clocked, got: {given!r}")


def check_options(options: object) -> dict[str, Any]:
    """Return options of a call that a schedule may carry. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(options, Mapping) or not all(isinstance(key, str) for key in options):
        raise TypeError(f"expected options to be a dict with names as keys, got: {options!r}")
    for key in DECIDED_BY_BEAT:
        if key in options:
            raise ValueError(f"option {key!r} cannot stand here: it has a field of its own, or beat decides it")
    for key in OF_WORKFLOWS:
        if key in options:
            raise ValueError(f"option {key!r} cannot stand here: schedule a task that starts the workflow")
    stored_options("a schedule", options)
    return dict(_through_json(dict(options)))


def _task(value: object) -> str:
    name = getattr(value, "name", value)  # a definition will do
    if not isinstance(name, str) or not name:
        raise ValueError(f"expected the name of a task, got: {value!r}")
    return check_text(name)


def _queue(value: object) -> str:
    check_queue(value)
    return str(value)


def _priority(value: Any) -> int:
    check_priority(value)
    return int(value)


def _flag(value: object) -> bool:
    if not isinstance(value, bool):
        raise TypeError(f"expected True or False, got: {value!r}")
    return value


def _moment(value: object) -> datetime:
    if not isinstance(value, datetime):
        raise TypeError(f"expected a datetime, got: {value!r}")
    check_moment(value)
    return timezone.make_aware(value) if timezone.is_naive(value) else value


def _span(value: object) -> timedelta:
    if isinstance(value, int | float) and not isinstance(value, bool) and 0 <= value <= LONGEST_COUNTDOWN:
        return timedelta(seconds=value)
    if isinstance(value, timedelta):
        return check_span(value)
    raise ValueError(f"expected seconds or a timedelta, 0 or more and at most a hundred years, got: {value!r}")


def _expires(value: object) -> timedelta | datetime:
    if isinstance(value, timedelta):
        return _span(value)
    checked = check_expires(value)
    return checked if isinstance(checked, datetime) else _span(checked)


def _named(kind: type[Misfire] | type[Overlap]) -> Any:
    def check(value: object) -> int:
        for member in kind:
            if value == member.name.lower() or value is member:
                return int(member)
        raise ValueError(f"expected one of {', '.join(repr(m.name.lower()) for m in kind)}, got: {value!r}")

    return check


def check_limit(value: object) -> int:
    """Return the most slots that fire in one go. Raises ``ValueError``."""
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= MOST_MISFIRES:
        raise ValueError(f"expected a whole number from 1 to {MOST_MISFIRES:,}, got: {value!r}")
    return value


def _args(value: object) -> list[Any]:
    args, _ = check_arguments("the schedule", value, None)
    return list(_through_json(list(args)))


def _kwargs(value: object) -> dict[str, Any]:
    _, kwargs = check_arguments("the schedule", None, value)
    return dict(_through_json(kwargs))


def _through_json(value: Any) -> Any:
    """Return what is stored of a value: JSON, with datetimes and the like in envelopes."""
    return json.loads(encode(value))


CHECKS: dict[str, Any] = {
    "task": _task,
    "schedule": read_timing,
    "args": _args,
    "kwargs": _kwargs,
    "options": check_options,
    "queue": _queue,
    "priority": _priority,
    "relative": _flag,
    "timezone": check_zone,
    "start_at": _moment,
    "end_at": _moment,
    "expires": _expires,
    "jitter": _span,
    "misfire": _named(Misfire),
    "misfire_limit": check_limit,
    "overlap": _named(Overlap),
    "one_off": _flag,
    "enabled": _flag,
    "description": check_text,
}
