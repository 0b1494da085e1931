"""Lookup: what the database knows of a task, by its id."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections

from . import states
from .conf import settings
from .exceptions import TaskRevokedError
from .records import StoredResult
from .serializers import decode_arguments, decode_error, decode_result, stored_traceback
from .states import State
from .store import results as stored
from .uuid7 import as_task_id


class TaskLookup:
    """Each property and method reads the database anew. Equal to any other of the same id, and to the id as text."""

    __slots__ = ("id",)

    def __init__(self, id: str) -> None:
        self.id = as_task_id(id)

    @staticmethod
    def outcome_of(result: StoredResult, *, propagate: bool, follow_parents: bool = False) -> Any:
        if result.state == State.SUCCEEDED:
            return None if result.value is None else decode_result(result.value)
        if result.error is None:
            error: BaseException = TaskRevokedError("the task was cancelled")
        else:
            error = decode_error(result.error, follow_parents=follow_parents)
        if propagate:
            raise error
        return error

    def _stored(self) -> StoredResult | None:
        with connections[settings.DATABASE].cursor() as cursor:
            return stored.read_result(cursor, self.id)

    def ready(self) -> bool:
        """Whether the task has finished, however it ended."""
        return self._stored() is not None

    def successful(self) -> bool:
        return self.state == states.SUCCESS

    def failed(self) -> bool:
        return self.state == states.FAILURE

    @property
    def state(self) -> str:
        """PENDING (also for an unknown id), STARTED, RETRY, SUCCESS, FAILURE or REVOKED, or one of the task's own."""
        with connections[settings.DATABASE].cursor() as cursor:
            place = stored.read_place(cursor, self.id)
        if place.final is not None:
            return State(place.final).celery_name
        if place.running:
            return place.shown or states.STARTED
        return states.RETRY if place.retrying else states.PENDING

    status = state

    @property
    def result(self) -> Any:
        """The value of a successful task, the exception of one that failed or waits for a retry, else None.

        Of a running task, the ``meta`` of its last ``update_state``.
        """
        result = self._stored()
        if result is not None:
            return self.outcome_of(result, propagate=False)
        with connections[settings.DATABASE].cursor() as cursor:
            meta, error = stored.read_meta(cursor, self.id), stored.read_retry_error(cursor, self.id)
        if error:
            return decode_error(error)
        return None if meta is None else decode_result(meta)

    info = result

    @property
    def traceback(self) -> str | None:
        """The traceback of a failed task as text."""
        result = self._stored()
        return None if result is None or not result.error else stored_traceback(result.error)

    @property
    def date_done(self) -> Any:
        result = self._stored()
        return None if result is None else result.finished_at

    @property
    def worker(self) -> str | None:
        """The name of the worker that ran the last attempt."""
        result = self._stored()
        return None if result is None else result.worker

    @property
    def retries(self) -> int:
        """How often the task asked to run again."""
        with connections[settings.DATABASE].cursor() as cursor:
            return stored.read_retries(cursor, self.id)

    def _call(self) -> stored.StoredCall | None:
        with connections[settings.DATABASE].cursor() as cursor:
            return stored.read_call(cursor, self.id)

    @property
    def name(self) -> str | None:
        """The name of the task. None, as all that follows here, for an id that is not known."""
        call = self._call()
        return None if call is None else call.name

    @property
    def args(self) -> Sequence[Any] | None:
        call = self._call()
        return None if call is None else decode_arguments(call.args, call.kwargs, call.name)[0]

    @property
    def kwargs(self) -> dict[str, Any] | None:
        call = self._call()
        return None if call is None else decode_arguments(call.args, call.kwargs, call.name)[1]

    @property
    def queue(self) -> str | None:
        call = self._call()
        return None if call is None else call.queue

    def exists(self) -> bool:
        """Whether the task is known: enqueued and not pruned or forgotten."""
        return self._call() is not None

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, TaskLookup):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented
