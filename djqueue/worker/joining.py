"""Joining: what is different about attempts of tasks that belong to a workflow."""

from __future__ import annotations

from collections.abc import Sequence
from time import monotonic
from typing import Any

from djqueue.attempt import IGNORED, REPLACED, Ended
from djqueue.canvas.errbacks import is_told_the_error
from djqueue.canvas.replacing import planned_additions, planned_replacement
from djqueue.context import Request
from djqueue.definition import TaskDefinition
from djqueue.exceptions import TaskRevokedError
from djqueue.records import Claim, Outcome
from djqueue.serializers import decode_arguments, decode_error, encode, encode_error, stored_traceback
from djqueue.states import Ending


def for_errback(
    definition: TaskDefinition, args: Sequence[Any], kwargs: dict[str, Any], failing: dict[str, Any] | None
) -> Sequence[Any]:
    """Return what an errback is called with, in the style that its function wants; any other task's arguments.

    ``failing`` is what is stored of the task that failed.
    """
    if failing is None or failing["immutable"]:
        return args
    if not is_told_the_error(definition, len(args) - 1 + len(kwargs)):
        return args
    stored = encode(failing["error"])
    its_args, its_kwargs = decode_arguments(encode(failing["args"]), encode(failing["kwargs"]), failing["task"])
    told = {name: value for name, value in failing.items() if name not in ("error", "immutable")}
    told.update(args=its_args, kwargs=its_kwargs, called_directly=False, is_eager=False)
    return [Request(**told), decode_error(stored), stored_traceback(stored), *args[1:]]


def in_workflow(claim: Claim, request: Request, ended: Ended, outcome: Outcome) -> Outcome:
    """Return the outcome of an attempt with what it means for others.

    A task that others wait for and that raised ``Ignore`` is cancelled: nobody is to wait for ever.
    """
    if ended.state == REPLACED:
        return _replaced(claim, request, ended, outcome)
    if not claim.in_workflow:
        return outcome
    if ended.state == IGNORED:
        error = encode_error(TaskRevokedError("the task raised Ignore"), with_traceback=False)
        return Outcome.cancelled(claim.id, claim.attempt, error, outcome.started, outcome.finished)
    if request.added and outcome.ending == Ending.SUCCEEDED:
        return outcome._replace(grown=planned_additions(request, request.added))
    return outcome


def _replaced(claim: Claim, request: Request, ended: Ended, outcome: Outcome) -> Outcome:
    started = outcome.started if outcome.started is not None else monotonic()
    try:
        grown = planned_replacement(request, ended.value)
    except Exception as error:  # an argument that cannot be stored, or does not fit
        return Outcome.failed(claim.id, claim.attempt, encode_error(error), started, monotonic())
    if grown is None:  # by nothing but empty groups
        return Outcome.succeeded(claim.id, claim.attempt, "[]", started, monotonic())
    return outcome._replace(grown=grown)
