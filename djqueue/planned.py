"""Planned rows: the tasks and groups of a workflow before they are inserted, and as the JSON text they travel in."""

from __future__ import annotations

import json
from collections.abc import Iterable
from datetime import datetime
from enum import IntEnum
from typing import Any, NamedTuple

from .records import NewTask


class Errbacks(list[dict[str, Any]]):
    """What is stored with a task of its errbacks: the rows that a failure makes of them, and not what a caller gave."""


class Takes(IntEnum):
    """What a waiting task takes from what it waits for."""

    VALUE = 1
    """Its result is put in front of the arguments."""
    NOTHING = 2
    """It only has to have succeeded."""
    ITS_PLACE = 3
    """The waiting task was replaced by it, does not run again and ends as it does."""


class PlannedTask(NamedTuple):
    """A task of a workflow. ``waits_for`` is the id of a task or group that must succeed first."""

    task: NewTask
    group_id: str | None = None
    group_index: int | None = None
    waits_for: str | None = None
    takes: Takes | None = None


class PlannedGroup(NamedTuple):
    """A group that something waits for: ``size`` members, and where it stands itself among the members of another."""

    id: str
    group_id: str | None
    group_index: int | None
    size: int


def as_rows(tasks: Iterable[PlannedTask]) -> str:
    """Return tasks as a JSON array of the columns that ``store.plant`` inserts."""
    return "[" + ",".join(map(_row, tasks)) + "]"


def as_group_rows(groups: Iterable[PlannedGroup]) -> str:
    return json.dumps([group._asdict() for group in groups])


def _row(planned: PlannedTask) -> str:
    return row_text(
        planned.task,
        group_id=planned.group_id,
        group_index=planned.group_index,
        waits_for=planned.waits_for,
        takes=planned.takes,
    )


def row_text(task: NewTask, **columns: Any) -> str:
    """Return a task as a JSON object of its columns, and of others; those that are None are left out."""
    plain = {
        "id": task.id,
        "name": task.name,
        "queue": task.queue,
        "priority": task.priority,
        "parent_id": task.parent_id,
        "root_id": task.root_id,
        "expires_at": _moment(task.expires_at),
        "expires_in": task.expires_in,
        "run_at": _moment(task.run_at),
        "run_in": task.run_in,
        **columns,
    }
    text = json.dumps({name: value for name, value in plain.items() if value is not None})
    return f'{text[:-1]},"args":{task.args},"kwargs":{task.kwargs},"options":{task.options or "null"}}}'


def _moment(value: datetime | None) -> str | None:
    return None if value is None else value.isoformat()
