"""Replacing: a running task hands its place to a canvas, or adds members to its chord."""

from __future__ import annotations

from typing import Any, NoReturn

from djqueue.context import Request
from djqueue.exceptions import ImproperlyConfigured, Replace

from .data import SignatureData
from .frozen import Place, freeze_sequence
from .planning import Planner
from .signatures import as_signature


def replace(request: Request, sig: Any) -> NoReturn:
    """Raise ``Replace``, which ends the attempt. Raises ``ImproperlyConfigured`` for a canvas without a step."""
    if request.called_directly:
        raise RuntimeError("expected replace() to be called inside a task")
    sig = as_signature(sig)
    if not sig.steps():
        raise ImproperlyConfigured("Cannot replace with an empty chain")
    whole = sig.copied(deep=False, fresh=True)
    if request.stamped_headers:
        whole.stamp(**{**(request.stamps or {}), "stamped_headers": list(request.stamped_headers)})
    raise Replace(whole)


def planned_replacement(request: Request, sig: Any) -> tuple[Planner, str | None]:
    """Return the rows of what takes a task's place, and the id of the task or group that it ends with."""
    sig.hand_down((), {}, {})
    sig.make_distinct(set())
    steps = sig.steps()
    freeze_sequence(steps, Place(None, request.root_id, request.id))
    planner = Planner(replaced_task_nesting=(request.replaced_task_nesting or 0) + 1)
    return planner, planner.sequence(steps, counted=True)


def add_to_chord(request: Request, sig: Any, *, lazy: bool) -> Any:
    """Note a new member of the header that the running task belongs to; it is added when the task succeeds."""
    if not request.group or not request.chord:
        raise ValueError("Current task is not member of any chord")
    member: SignatureData = as_signature(sig).copied(deep=False, fresh=True)
    member.hand_down((), {}, {})
    member.make_distinct(set())
    result = freeze_sequence(member.steps(), Place(None, request.root_id, request.id, request.group, -1))
    if not lazy:
        request.__dict__.setdefault("added", []).append(member)
    return result
