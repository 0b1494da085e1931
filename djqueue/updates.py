"""Updates: what a running task tells of its progress."""

from __future__ import annotations

from typing import Any

from django.db import connections

from . import states
from .conf import settings
from .context import Request
from .serializers import encode_result
from .store.progress import note_state
from .uuid7 import as_task_id

STATE_MAX_CHARACTERS = 50


def update_state(request: Request, task_id: str | None, state: str | None, meta: Any) -> None:
    """Show a state of the task's own until it has ended; of the task that runs here, or of another that is running.

    Raises ``ValueError`` for a state that only the queue itself can give, ``EncodeError`` for a ``meta`` that cannot be
    stored.
    """
    own_id = request.id
    wanted = own_id if task_id is None else as_task_id(task_id)
    if wanted is None:
        raise RuntimeError("expected update_state() to be called inside a task, or with the task_id of one")
    if not isinstance(state, str) or not 0 < len(state) <= STATE_MAX_CHARACTERS:
        raise ValueError(f"expected state to be 1 to {STATE_MAX_CHARACTERS} characters, got: {state!r}")
    if not state.isprintable():
        raise ValueError(f"expected state to hold printable characters only, got: {state!r}")
    if state in states.READY_STATES:
        raise ValueError(f"expected a state of the task's own, such as 'PROGRESS', got: {state!r}, which ends a task")
    text = None if meta is None else encode_result(request.task or wanted, meta, what="meta")
    if wanted == own_id:
        if request.report is not None:
            request.report(state, text)
        return  # else it runs eagerly: nobody else can see it
    with connections[settings.DATABASE].cursor() as cursor:
        note_state(cursor, wanted, state, text)
