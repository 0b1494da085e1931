"""Results: what a caller holds of a task it enqueued."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from django.db import connections

from . import states
from .conf import settings
from .context import inside_task
from .exceptions import TaskRevokedError, TimeoutError
from .records import StoredResult
from .serializers import decode_error, decode_result, encode_error, stored_traceback
from .states import State
from .store import results as stored
from .store.cancel import cancel
from .store.wakeup import send_held_back
from .uuid7 import as_task_id

FIRST_LOOK = 0.0005
"""Seconds before ``get`` looks again at first; the pause grows with the time already waited."""


class EnqueuedIn:
    """A transaction that tasks were enqueued in; nobody else sees them until it is committed."""

    __slots__ = ("committed",)

    def __init__(self) -> None:
        self.committed = False


class AsyncResult:
    """The state and result of a task, by its id. Equal to any other of the same id, and to the id as text."""

    __slots__ = ("_transaction", "id", "ignored")

    def __init__(self, id: str) -> None:
        self.id = as_task_id(id)
        self.ignored = False
        self._transaction: EnqueuedIn | None = None

    @classmethod
    def enqueued(cls, id: str, transaction: EnqueuedIn | None, *, ignored: bool) -> AsyncResult:
        """Return the result of a task that was enqueued just now under a canonical id."""
        result = cls.__new__(cls)
        result.id, result.ignored, result._transaction = id, ignored, transaction
        return result

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        disable_sync_subtasks: bool = True,
    ) -> Any:
        """Wait for the task and return its result.

        Looks often at first and then at most every ``interval`` seconds. A failed task raises its exception, unless
        ``propagate`` is false, when it is returned. Raises ``djqueue.exceptions.TimeoutError`` after ``timeout``
        seconds, and ``RuntimeError`` inside a task, which would block a slot that the awaited task may need.
        """
        if disable_sync_subtasks and inside_task():
            raise RuntimeError(
                "never call get() within a task: it blocks a slot that the awaited task may need. Chain the tasks, or "
                "pass disable_sync_subtasks=False if you know better."
            )
        if self.ignored:
            return None
        self._check_visible()
        value = self._outcome(self._wait(timeout, interval), propagate=propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    wait = get

    def _check_visible(self) -> None:
        if self._transaction is None or self._transaction.committed:
            return
        if connections[settings.DATABASE].in_atomic_block:
            raise RuntimeError(
                f"get() would wait for ever: task {self.id} was enqueued in the transaction that is still open, so no "
                "worker can see it. Call get() after the commit; in tests use TransactionTestCase."
            )

    def _wait(self, timeout: float | None, interval: float) -> StoredResult:
        began = time.monotonic()
        while (found := self._stored()) is None:
            send_held_back(connections[settings.DATABASE])
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise TimeoutError(f"the result of task {self.id} did not come within {timeout:g} s")
            pause = min(interval, max(FIRST_LOOK, waited * 0.1))
            time.sleep(pause if timeout is None else min(pause, timeout - waited))
        return found

    @staticmethod
    def _outcome(result: StoredResult, *, propagate: bool) -> Any:
        if result.state == State.SUCCEEDED:
            return None if result.value is None else decode_result(result.value)
        error = decode_error(result.error) if result.error else TaskRevokedError("the task was cancelled")
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
            return self._outcome(result, propagate=False)
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

    def revoke(self, terminate: bool = False, **kwargs: Any) -> bool:
        """Cancel the task if it has not started; return whether it was waiting and is cancelled now.

        A task that this process enqueues later under this id, or that is retried later, is cancelled then.
        """
        if terminate:
            raise TypeError("revoke(terminate=True) is not supported by this release of djqueue")
        error = encode_error(TaskRevokedError("revoked"), with_traceback=False)
        with connections[settings.DATABASE].cursor() as cursor:
            return self.id in cancel(cursor, [self.id], error, terminate=False)

    @property
    def retries(self) -> int:
        """How often the task asked to run again."""
        with connections[settings.DATABASE].cursor() as cursor:
            return stored.read_retries(cursor, self.id)

    def forget(self) -> None:
        """Delete the task and its result. A task that has not finished stays."""
        with connections[settings.DATABASE].cursor() as cursor:
            stored.forget(cursor, [self.id])

    def __getstate__(self) -> object:
        # What is kept or sent elsewhere cannot learn that the transaction it was made in has committed.
        return None, {"id": self.id, "ignored": self.ignored, "_transaction": None}

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<AsyncResult: {self.id}>"

    def __hash__(self) -> int:
        return hash(self.id)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, AsyncResult):
            return self.id == other.id
        return self.id == other if isinstance(other, str) else NotImplemented
