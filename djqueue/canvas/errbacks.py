"""Errbacks: what is called when a task has failed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from djqueue import registry
from djqueue.attempt import ExceptionInfo
from djqueue.context import Request

if TYPE_CHECKING:
    from djqueue.definition import TaskDefinition

logger = logging.getLogger("djqueue.task")


def is_told_the_error(definition: TaskDefinition | None, stored: int) -> bool:
    """Whether an errback is called with ``(request, exc, traceback)``, and not with the id of the task that failed.

    Celery's rule: it is registered, not bound, and takes more than one argument besides those that are stored with it.
    """
    if definition is None or getattr(definition, "bind", False):
        return False
    return definition.check_call.takes_more_than(1 + stored)


def run_errbacks(errbacks: list[Any], failed: Request | str, error: BaseException) -> None:
    """Call errbacks in place, each once. What one of them raises is logged and stops no other."""
    request = failed if isinstance(failed, Request) else Request(id=failed, is_eager=True, called_directly=False)
    for errback in errbacks:
        try:
            run_errback(errback, request, error)
        except Exception:
            logger.exception("errback %r of %s raised", errback, request.id)


def run_errback(errback: Any, request: Request, error: BaseException) -> None:
    """Call one errback, a signature, in the style that its function wants."""
    if errback.get("subtask_type"):
        errback.apply((request.id,))
        return
    definition = registry.find(errback["task"])
    if is_told_the_error(definition, len(errback["args"]) + len(errback["kwargs"])):
        errback(request, error, ExceptionInfo(error).traceback)
    else:
        errback.apply((request.id,), parent_id=request.id, root_id=request.root_id or request.id)
