"""Replacing: a running task hands its place to a canvas, or adds members to its chord."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from djqueue.context import Request
from djqueue.exceptions import ImproperlyConfigured, Replace
from djqueue.planned import as_group_rows, as_rows
from djqueue.serializers import encode

from .frozen import Place, freeze_sequence
from .planning import Planner
from .signatures import as_signature


def replace(request: Request, sig: Any) -> NoReturn:
    """Raise ``Replace``, which ends the attempt."""
    whole = sig.copied(deep=False, fresh=True)
    if request.stamped_headers:
        whole.stamp(**{**(request.stamps or {}), "stamped_headers": list(request.stamped_headers)})
    raise Replace(whole)


def check_replacement(sig: Any) -> Any:
    """Return a signature. Raises ``TypeError`` for what is none and ``ImproperlyConfigured`` for one without a step."""
    sig = as_signature(sig)
    if not sig.steps():
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    return sig


def planned_replacement(request: Request, sig: Any) -> str | None:
    """Return the rows of what takes a task's place, and what the task waits for, as JSON text (``store.grow``).

    None if there is nothing to wait for: a group without members.
    """
    steps = _prepared(sig).steps()
    freeze_sequence(steps, Place(None, request.root_id, request.id))
    planner = Planner(replaced_task_nesting=(request.replaced_task_nesting or 0) + 1)
    waits_for = planner.sequence(steps, counted=True)
    return None if waits_for is None else _grown(request, planner, waits_for=waits_for)


def add_to_chord(request: Request, sig: Any, *, lazy: bool) -> Any:
    """Note a new member of the header that the running task belongs to; it is added when the task succeeds."""
    if not request.group or not request.chord:
        raise ValueError("Current task is not member of any chord")
    member = _prepared(as_signature(sig).copied(deep=False, fresh=True))
    added = request.__dict__.setdefault("added", [])
    place = Place(None, request.root_id, request.id, request.group, len(added))
    if not lazy:
        added.append(member)
    return freeze_sequence(member.steps(), place)


def planned_additions(request: Request, members: Sequence[Any]) -> str:
    """Return the rows of members that a task adds to its group, as JSON text (``store.grow``).

    Their index counts from the end of the group.
    """
    planner = Planner()
    for member in members:
        planner.sequence(member.steps(), counted=True)
    return _grown(request, planner, group_id=request.group, added=len(members))


def _prepared(sig: Any) -> Any:
    sig.hand_down((), {}, {})
    return sig.make_distinct(set())


def _grown(request: Request, planner: Planner, **what: Any) -> str:
    workflow = encode({"workflow_id": request.workflow_id or request.id, **what})
    return f'{workflow[:-1]},"tasks":{as_rows(planner.tasks)},"groups":{as_group_rows(planner.groups)}}}'
