"""In place: run a canvas here and now, as in eager mode. Needs no database."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from djqueue.context import running_request
from djqueue.eager import EagerResult
from djqueue.exceptions import ChordError
from djqueue.results import GroupResult

from .data import SignatureData, listed
from .errbacks import run_errbacks
from .frozen import IDS, bounded
from .steps import Leaf, Step


def run_in_place(canvas: SignatureData, args: Sequence[Any], kwargs: Mapping[str, Any], options: dict[str, Any]) -> Any:
    """Run all steps of a canvas, each with its links and errbacks, and return its result; None if it is empty."""
    ids = {name: options.pop(name, None) for name in IDS}
    parent = running_request()
    with bounded():
        whole: Any = canvas.copied(deep=False)
        whole.hand_down(args, kwargs, options)
    canvas.spend()
    if parent is not None:
        ids["parent_id"] = ids["parent_id"] or parent.id
        ids["root_id"] = ids["root_id"] or parent.root_id
    id = ids.pop("task_id")
    if whole.freeze(id, **ids) is None:
        return None
    return run_sequence(whole.steps(), ())


def run_sequence(steps: list[Step], values: tuple[Any, ...]) -> Any:
    """Run steps until one does not succeed; the first gets ``values``. Returns the result of the last one run.

    If that is the header of a chord, the body fails with it.
    """
    previous: Any = None
    for step, following in zip(steps, [*steps[1:], None], strict=True):
        result: Any
        if isinstance(step, Leaf):
            task: Any = step.sig
            result = task.apply(values, before=0 if task.immutable else len(values))
        else:
            result = GroupResult(step.sig.options["task_id"], [run_sequence(member, values) for member in step.members])
        result.parent = previous
        if not result.successful():
            return result if following is None else _stopped(step, following, result)
        values, previous = (result.get(disable_sync_subtasks=False),), result
    return previous


def _stopped(step: Step, following: Step, result: Any) -> Any:
    """Return the result of a canvas of which a step did not succeed although others follow."""
    if isinstance(step, Leaf):
        return result
    culprit = next((r for r in leaves(result) if r.failed()), None)
    if culprit is None:
        return result
    error = culprit.result
    bodies = [following] if isinstance(following, Leaf) else [m[0] for m in following.members]
    for body in bodies:
        if isinstance(body, Leaf):
            reason = ChordError(f"Dependency {culprit.id} raised {error!r}")
            run_errbacks(listed(body.sig.options.get("link_error")), body.sig.options["task_id"], reason)
    first: Any = bodies[0]
    failed = EagerResult(first.sig.options["task_id"], error, culprit.state, culprit.traceback, first.sig.name)
    failed.parent = result
    return failed


def leaves(result: Any) -> list[Any]:
    """Return the results of single tasks that a result consists of."""
    if isinstance(result, GroupResult):
        return [leaf for member in result.results for leaf in leaves(member)]
    return [result]
