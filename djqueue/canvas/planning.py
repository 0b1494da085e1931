"""Planning: from a frozen canvas to the rows of its tasks, each with what it waits for."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from djqueue import registry
from djqueue.calls import check_call_limits
from djqueue.conf import settings
from djqueue.drafts import limits_by_name, new_task, with_defaults
from djqueue.limits import stream_of
from djqueue.planned import Errbacks, PlannedGroup, PlannedTask, Takes
from djqueue.records import NewTask

from .data import SignatureData, given, listed
from .errbacks import is_told_the_error
from .frozen import TOO_DEEP, Place, freeze_sequence
from .signatures import as_signature
from .steps import Fork, Leaf, Step

if TYPE_CHECKING:
    from djqueue.definition import TaskDefinition

APPLY = "djqueue.apply"
"""The task that applies a canvas; it stands for errbacks that are more than one task."""
OWN = frozenset(["link", "link_error", "group_id", "group_index", "chord", "task_id"])
"""Options that the rows of a workflow express in another way than those of a single task."""
TIMING = frozenset(["countdown", "eta", "expires"])
DEEPEST = 100
"""Callbacks of callbacks of callbacks, above which a canvas is taken for one that contains itself."""


class Planner:
    """Collects the tasks and groups of canvases that are inserted together.

    ``linked`` tells whether anything waits for any of them, so that it matters to others how they end.
    """

    def __init__(self, **extra: Any) -> None:
        self.tasks: list[PlannedTask] = []
        self.groups: list[PlannedGroup] = []
        self.linked = False
        self._extra = extra
        self._depth = 0

    def sequence(
        self,
        steps: Sequence[Step],
        after: str | None = None,
        *,
        counted: bool = False,
        constant: tuple[Any, ...] = (),
    ) -> str | None:
        """Plan steps of which the first waits for the task or group ``after``, and return what to wait for after them.

        ``counted`` says that the group which the last step belongs to, or is, must know when it has ended. The first
        step gets ``constant`` instead of the value of what it waits for.
        """
        for step in steps:
            if isinstance(step, Leaf):
                after = self._leaf(step.sig, after, constant)
            elif step.members:
                after = self._fork(step, after, constant, counted=counted or step is not steps[-1])
            else:  # a chord without header: its body gets an empty list
                constant = ([],)
                continue
            constant = ()
        return after

    def _fork(self, step: Fork, after: str | None, constant: tuple[Any, ...], *, counted: bool) -> str:
        options = step.sig.options
        id: str = options["task_id"]
        if counted:
            self.groups.append(PlannedGroup(id, options.get("group_id"), options.get("group_index"), len(step.members)))
            self.linked = True
        for member in step.members:
            self.sequence(member, after, counted=counted, constant=constant)
        return id

    def _leaf(self, sig: SignatureData, after: str | None, constant: tuple[Any, ...]) -> str:
        options = given(sig.options)
        id: str = options["task_id"]
        kept = {name: value for name, value in options.items() if name not in OWN}
        if errbacks := [planned_errback(errback) for errback in listed(options.get("link_error"))]:
            kept["link_error"] = Errbacks(errbacks)
            self.linked = True
        bare = sig.immutable or bool(constant)
        first = () if sig.immutable else constant
        task = _task_of(sig, id, {**kept, **self._extra}, first, values=0 if after is None or bare else 1)
        takes = Takes.NOTHING if bare else Takes.VALUE
        self.linked = self.linked or after is not None
        group = options.get("group_id"), options.get("group_index")
        self.tasks.append(PlannedTask(task, *group, after, takes if after else None))
        self._callbacks(options, id)
        return id

    def _callbacks(self, options: dict[str, Any], id: str) -> None:
        self._depth += 1
        if self._depth > DEEPEST:
            raise ValueError(TOO_DEEP)
        for callback in listed(options.get("link")):
            linked: Any = as_signature(callback).copied(deep=False, fresh=True).make_distinct(set())
            linked.hand_down((), {}, {"djqueue_link": True})
            freeze_sequence(linked.steps(), Place(None, options["root_id"], id))
            self.sequence(linked.steps(), id)
        self._depth -= 1


def _task_of(sig: SignatureData, id: str, options: dict[str, Any], first: tuple[Any, ...], values: int) -> NewTask:
    """Return the row of a task; it gets ``first``, and will get so many values, in front of its arguments."""
    definition: TaskDefinition | None = sig._type or registry.find(sig["task"])
    args, kwargs = (*first, *sig.args), dict(sig.kwargs)
    limits = limits_by_name(sig["task"], args, kwargs, values)
    if definition is not None:
        if definition.typing:
            definition.check_call(((None,) * values) + args, kwargs)
        check_call_limits(definition, options)
        options = with_defaults(definition, args, kwargs, options)
        own, kwargs = _stored(definition, sig, before=values + len(first))
        args = (*first, *own)
    if options.get("root_id") == id:
        options["root_id"] = None
    return _step(new_task(sig["task"], args, kwargs, id, options, None, limits))


def _step(task: NewTask) -> NewTask:
    """Return a task that is started where others end. Raises ``TypeError`` or ``ValueError`` for one that cannot be."""
    if task.unique is not None:
        raise TypeError(
            f"{task.name} is unique, and so cannot be a step of a workflow, which would wait for ever if another task "
            "holds the key. Give the step .set(unique=False)."
        )
    if task.queue in settings.BROADCAST_QUEUES:
        raise ValueError(f"expected a step of a workflow to go to one worker, got {task.name} to all of {task.queue!r}")
    return task


def planned_errback(errback: Any) -> dict[str, Any]:
    """Return what is stored of an errback with the task that it belongs to: the row that a failure makes of it."""
    sig = as_signature(errback)
    options = given(sig.options)
    if sig.subtask_type or TIMING & options.keys() or options.get("link") or options.get("link_error"):
        sig, options = SignatureData(APPLY, (dict(sig),)), {}
    definition = registry.find(sig["task"])
    args, kwargs = tuple(sig.args), dict(sig.kwargs)
    limits = {}
    kept = {name: value for name, value in options.items() if name not in OWN}
    if definition is not None:
        kept = with_defaults(definition, args, kwargs, kept)
        told = 3 if is_told_the_error(definition, len(args) + len(kwargs)) else 1
        before = 0 if sig.immutable else told
        limits = definition.limits.stored(args, kwargs, before)
        args, kwargs = _stored(definition, sig, before=before)
        if stream_of(limits):  # the failure that makes it comes at no time that has a place in a stream
            limits = {name: value for name, value in limits.items() if name == "rate_key"}
    row = _step(new_task(sig["task"], args, kwargs, None, kept, None, limits))
    stored = {"task": row.name, "queue": row.queue, "priority": row.priority, "immutable": bool(sig.immutable)}
    texts = {"args": row.args, "kwargs": row.kwargs, "options": row.options or "{}"}
    return {**stored, **{name: json.loads(text) for name, text in texts.items()}}


def _stored(definition: TaskDefinition, sig: SignatureData, *, before: int) -> tuple[tuple[Any, ...], dict[str, Any]]:
    """Return arguments as they are to be stored, where the annotations of the function ask for it."""
    args, kwargs = definition.typed_arguments.encode(sig.args, sig.kwargs, before=before)
    return tuple(args), dict(kwargs)
