"""Applying: enqueue all tasks of a canvas, in one go."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from djqueue.conf import settings
from djqueue.context import in_trail, running_request
from djqueue.results import AsyncResult, GroupResult
from djqueue.uuid7 import as_task_id, new_task_id

from .data import SignatureData
from .frozen import IDS, Place, bounded, freeze_sequence
from .inplace import run_in_place
from .planning import Planner
from .planting import end_stream, enqueue_plan
from .steps import Fork


def apply_canvas(canvas: SignatureData, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> Any:
    """Enqueue everything that a canvas consists of and return its result; None for a canvas without a step.

    Either all of it is there once the transaction commits, or nothing. Applied again, it is a new run.
    """
    if settings.ALWAYS_EAGER:
        return run_in_place(canvas, args, kwargs, options)
    add_to_parent = in_trail({"add_to_parent": options.pop("add_to_parent", True)})
    ids = _ids(options)
    planner = Planner() if add_to_parent else Planner(add_to_parent=False)
    with bounded():
        whole: Any = canvas.copied(deep=False)
        whole.hand_down(args, kwargs, options)
        result = whole.freeze(ids.pop("task_id"), **ids)
        if result is None:
            return None
        planner.sequence(whole.steps())
    _tell(result, enqueue_plan(planner.tasks, planner.groups, linked=planner.linked))
    canvas.spend()
    _note_child(result, add_to_parent=add_to_parent)
    return result


def apply_stream(
    canvas: Any, members: Iterable[Any], args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]
) -> Any:
    """Enqueue the members of a group one by one, as a generator makes them.

    Each is committed at once, and can run; only the last commit waits for the disk, and for those before it.
    """
    if settings.ALWAYS_EAGER:
        return run_in_place(canvas, args, kwargs, options)
    add_to_parent = in_trail({"add_to_parent": options.pop("add_to_parent", True)})
    ids = _ids(options)
    group_id = as_task_id(ids["task_id"] or new_task_id())
    args, options = canvas._taken(args, options)
    result = GroupResult(group_id)
    root_id = ids["root_id"]
    try:
        for index, member in enumerate(members):
            part: Any = member.copied(deep=False).make_distinct(set())
            member.spend()
            part.hand_down(args, kwargs, options)
            for steps in _sequences(part):
                one: Any = freeze_sequence(steps, Place(None, root_id, ids["parent_id"], group_id, index))
                planner = Planner()
                planner.sequence(steps)
                _tell(one, enqueue_plan(planner.tasks, planner.groups, linked=planner.linked, streamed=True))
                root_id = root_id or planner.tasks[0].task.id
                result.results.append(one)
    finally:
        if result.results:
            end_stream()
    _note_child(result, add_to_parent=add_to_parent)
    return result


def _sequences(part: Any) -> list[Any]:
    steps = part.steps()
    match steps:
        case []:
            return []
        case [Fork(sig, members)] if sig is part:
            return members
        case _:
            return [steps]


def _ids(options: dict[str, Any]) -> dict[str, Any]:
    """Take the ids out of the options of a call; what a running task applies is caused by it."""
    ids = {name: options.pop(name, None) for name in IDS}
    parent = running_request()
    if parent is not None:
        ids["parent_id"] = ids["parent_id"] or parent.id
        ids["root_id"] = ids["root_id"] or parent.root_id
    return ids


def _note_child(result: Any, *, add_to_parent: bool) -> None:
    parent = running_request()
    if parent is not None and add_to_parent:
        parent.__dict__.setdefault("children", []).append(result)


def _tell(result: Any, transaction: Any) -> None:
    """Tell results of the transaction that they were enqueued in, unless it is committed already."""
    while transaction is not None and result is not None:
        for leaf in result.leaves() if isinstance(result, GroupResult) else [result]:
            if isinstance(leaf, AsyncResult):
                leaf._transaction = transaction
        result = result.parent
