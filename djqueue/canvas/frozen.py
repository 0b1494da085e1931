"""Freezing: the ids of everything that a canvas will make, chosen before any of it exists."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from djqueue import registry
from djqueue.results import AsyncResult, GroupResult
from djqueue.uuid7 import as_task_id, new_task_id

from .steps import Fork, Leaf, Step

if TYPE_CHECKING:
    from .data import SignatureData

Result = AsyncResult | GroupResult
IDS = ("task_id", "root_id", "parent_id", "group_id", "group_index")
"""Options that say where in a workflow a task stands; they are never handed from a canvas to its parts."""
TOO_DEEP = "expected a canvas that is not nested too deeply, got one that may contain itself"


class Place(NamedTuple):
    """Where a sequence stands: what its last step's id is to be, the root, what causes it, and its group."""

    id: str | None = None
    root_id: str | None = None
    parent_id: str | None = None
    group_id: str | None = None
    group_index: int | None = None


@contextmanager
def bounded() -> Iterator[None]:
    """Raise ``ValueError`` for a canvas in which there is no end to what is to be done."""
    try:
        yield
    except RecursionError:
        raise ValueError(TOO_DEEP) from None


def freeze_steps(sig: SignatureData, id: str | None, root_id: str | None, parent_id: str | None) -> Any:
    """Choose ids for all of a canvas, unless it has some already, and return its result (None if it is empty)."""
    with bounded():
        return _freeze_steps(sig, id, root_id, parent_id)


def _freeze_steps(sig: SignatureData, id: str | None, root_id: str | None, parent_id: str | None) -> Any:
    sig.make_distinct(set())
    options = sig.options
    place = Place(id or options.get("task_id"), root_id or options.get("root_id"), parent_id, None, None)
    if (group_id := options.get("group_id")) is not None:
        place = place._replace(group_id=group_id, group_index=options.get("group_index"))
    result = freeze_sequence(sig.steps(), place)
    if result is not None:
        options["task_id"] = result.id
        sig.frozen = True
    return result


def freeze_sequence(steps: list[Step], place: Place) -> Result | None:
    """Choose the ids of steps and return the result of the last one, with the results before it as its parents."""
    previous: Result | None = None
    here = place._replace(id=None, group_id=None, group_index=None)
    for step in steps:
        if step is steps[-1]:
            here = here._replace(id=place.id, group_id=place.group_id, group_index=place.group_index)
        result = _freeze_leaf(step, here) if isinstance(step, Leaf) else _freeze_fork(step, here)
        result.parent = previous
        root_id, caused_by = _caused_by(step, here)
        here = here._replace(root_id=root_id, parent_id=caused_by)
        previous = result
    return previous


def _freeze_leaf(step: Leaf, place: Place) -> AsyncResult:
    options = step.sig.options
    id = as_task_id(place.id or options.get("task_id") or new_task_id())
    options.update(task_id=id, root_id=place.root_id or id)
    _note(options, place)
    step.sig.frozen = True
    result = AsyncResult(id)
    result.ignored = _is_ignored(step.sig)
    return result


def _freeze_fork(step: Fork, place: Place) -> GroupResult:
    options = step.sig.options
    id = as_task_id(place.id or options.get("task_id") or new_task_id())
    options["task_id"] = id
    _note(options, place)
    step.sig.frozen = True
    results: list[Any] = []
    root_id = place.root_id
    for index, member in enumerate(step.members):
        results.append(freeze_sequence(member, Place(None, root_id, place.parent_id, id, index)))
        root_id = root_id or _first(member).sig.options["root_id"]
    return GroupResult(id, results)


def _is_ignored(sig: SignatureData) -> bool:
    chosen = sig.options.get("ignore_result")
    if chosen is None and (definition := sig._type or registry.find(sig["task"])) is not None:
        chosen = definition.ignore_result
    return bool(chosen)


def _note(options: dict[str, Any], place: Place) -> None:
    if place.parent_id is not None:
        options["parent_id"] = place.parent_id
    if place.group_id is not None:
        options.update(group_id=place.group_id, group_index=place.group_index)


def _caused_by(step: Step, place: Place) -> tuple[str | None, str | None]:
    """Return the root, and the task that causes what follows a step: of a fork, the last task of its first member."""
    if isinstance(step, Leaf):
        return step.sig.options["root_id"], step.sig.options["task_id"]
    if not step.members:
        return place.root_id, place.parent_id
    return _first(step.members[0]).sig.options["root_id"], _last(step.members[0]).sig.options["task_id"]


def _first(steps: list[Step]) -> Leaf:
    step = steps[0]
    return step if isinstance(step, Leaf) else _first(step.members[0])


def _last(steps: list[Step]) -> Leaf:
    step = steps[-1]
    return step if isinstance(step, Leaf) else _last(step.members[0])
