"""Results: what a caller holds of a task it enqueued."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from django.db import connections

from . import states
from .conf import settings
from .context import inside_task
from .control import revoke, revoke_by_stamped_headers
from .exceptions import TimeoutError
from .lookup import TaskLookup
from .records import StoredResult
from .resultsets import GroupResult, ResultSet, result_from_tuple
from .resulttree import ResultNode
from .store import results as stored
from .store.resume import resume
from .store.wakeup import send_held_back
from .uniqueness import Answer, Did

FIRST_LOOK = 0.0005
"""Seconds before ``get`` looks again at first; the pause grows with the time already waited."""

REVOKE_INTERVAL = 0.1
"""Seconds between two looks at a task that was asked to end."""


class EnqueuedIn:
    """A transaction that tasks were enqueued in; nobody else sees them until it is committed."""

    __slots__ = ("committed",)

    def __init__(self) -> None:
        self.committed = False


class AsyncResult(TaskLookup, ResultNode, of_one_task=True):
    """The state and result of a task, by its id.

    ``parent`` is the result before this one, where this one came from applying a workflow.
    """

    __slots__ = ("_transaction", "ignored", "parent")

    def __init__(self, id: str, parent: Any = None) -> None:
        super().__init__(id)
        self.ignored = False
        self.parent = parent
        self._transaction: EnqueuedIn | None = None

    @classmethod
    def enqueued(cls, id: str, transaction: EnqueuedIn | None, *, ignored: bool) -> AsyncResult:
        """Return the result of a task that was enqueued just now under a canonical id."""
        result = cls.__new__(cls)
        result.id, result.ignored, result._transaction = id, ignored, transaction
        result.parent = None
        return result

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = 0.5,
        callback: Callable[[str, Any], Any] | None = None,
        on_message: Callable[[dict[str, Any]], Any] | None = None,
        on_interval: Callable[[], Any] | None = None,
        disable_sync_subtasks: bool = True,
        follow_parents: bool = True,
    ) -> Any:
        """Wait for the task and return its result.

        Looks often at first and then at most every ``interval`` seconds. A failed task raises its exception, unless
        ``propagate`` is false, when it is returned. If it failed because another did, that one's exception is raised,
        unless ``follow_parents`` is false. ``on_interval`` is called after each look that found no result,
        ``on_message`` with ``{"task_id", "status", "result"}`` when such a look finds another state or progress than
        before, ``callback`` with id and value at the end. Raises ``djqueue.exceptions.TimeoutError`` after ``timeout``
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
        looks = [look for look in (on_message and self._watch(on_message), on_interval) if look]
        found = self._wait(timeout, interval, looks)
        value = self.outcome_of(found, propagate=propagate, follow_parents=propagate and follow_parents)
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

    def _watch(self, on_message: Callable[[dict[str, Any]], Any]) -> Callable[[], None]:
        seen: tuple[str, Any] = (states.PENDING, None)

        def look() -> None:
            nonlocal seen
            now = self.state, self.info
            if now != seen and now[0] not in states.READY_STATES:
                seen = now
                on_message({"task_id": self.id, "status": now[0], "result": now[1]})

        return look

    def _wait(self, timeout: float | None, interval: float, looks: Sequence[Callable[[], Any]] = ()) -> StoredResult:
        began = time.monotonic()
        while (found := self._stored()) is None:
            for look in looks:
                look()
            send_held_back(connections[settings.DATABASE])
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise TimeoutError(f"the result of task {self.id} did not come within {timeout:g} s")
            pause = min(interval, max(FIRST_LOOK, waited * 0.1))
            time.sleep(pause if timeout is None else min(pause, timeout - waited))
        return found

    @property
    def children(self) -> list[Any]:
        """The results of the tasks that this one has caused so far; those of one group as a ``GroupResult``."""
        with connections[settings.DATABASE].cursor() as cursor:
            caused = stored.read_children(cursor, self.id)
        found: dict[str, Any] = {}
        for id, group_id in caused:
            if group_id is None:
                found[id] = AsyncResult(id, self)
            else:
                found.setdefault(group_id, GroupResult(group_id, parent=self)).results.append(AsyncResult(id))
        return list(found.values())

    def revoke(
        self,
        connection: object = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> bool:
        """Cancel the task as ``control.revoke`` does; return whether it was waiting and is cancelled now.

        With ``wait`` returns when the task has ended, or ``timeout`` seconds later. ``connection`` is there for the
        sake of calls written for Celery, and must be None.
        """
        _refuse_connection(connection)
        cancelled = self.id in revoke(self.id, terminate=terminate, signal=signal)
        self._await_end(timeout, wait=wait and not cancelled)
        return cancelled

    def _await_end(self, timeout: float | None, *, wait: bool) -> None:
        if wait:
            self._check_visible()
            with suppress(TimeoutError):
                self._wait(timeout, REVOKE_INTERVAL)

    def revoke_by_stamped_headers(
        self,
        headers: Mapping[str, Any],
        connection: object = None,
        terminate: bool = False,
        signal: str | int | None = None,
        wait: bool = False,
        timeout: float | None = None,
    ) -> bool:
        """Cancel every task with one of these stamps, as ``control.revoke_by_stamped_headers`` does.

        Returns whether this one was waiting and is cancelled now; the other parameters are those of ``revoke``.
        """
        _refuse_connection(connection)
        cancelled = self.id in revoke_by_stamped_headers(headers, terminate=terminate, signal=signal)
        self._await_end(timeout, wait=wait and not cancelled)
        return cancelled

    def maybe_throw(self, propagate: bool = True, callback: Callable[[str, Any], Any] | None = None) -> Any:
        """Return what ``get`` would return now, without waiting: the value, or None of a task that has not finished.

        Raises the exception of a failed task, unless ``propagate`` is false, when it is returned.
        """
        found = self._stored()
        value = None if found is None else self.outcome_of(found, propagate=propagate)
        if callback is not None:
            callback(self.id, value)
        return value

    maybe_reraise = maybe_throw

    def then(
        self, callback: Callable[[AsyncResult], Any], on_error: Callable[[AsyncResult, Any], Any] | None = None
    ) -> AsyncResult:
        """Wait for the task, call ``callback`` with this result if it succeeded, and return this result.

        Of a task that did not, ``on_error`` gets this result and the exception; without it, the exception is raised.
        """
        value = self.get(propagate=on_error is None)
        if on_error is not None and self.state != states.SUCCESS:
            on_error(self, value)
        else:
            callback(self)
        return self

    def retry(self) -> None:
        """Have a task that failed, or was cancelled, run again, under its id; what failed with it waits for it again.

        In a transaction that happens when it commits. Raises ``ValueError`` for a task that has not failed itself.
        """
        with connections[settings.DATABASE].cursor() as cursor:
            resume(cursor, self.id)

    def forget(self) -> None:
        """Delete the task, and those before it in its chain, with their results.

        One that has not finished stays, or whose value a chord still needs.
        """
        if self.parent is not None:
            self.parent.forget()
        with connections[settings.DATABASE].cursor() as cursor:
            stored.forget(cursor, [self.id])

    def __getstate__(self) -> object:
        # What is kept or sent elsewhere cannot learn that the transaction it was made in has committed.
        return None, {"id": self.id, "ignored": self.ignored, "parent": self.parent, "_transaction": None}


__all__ = ["AsyncResult", "EnqueuedIn", "GroupResult", "ResultSet", "result_from_tuple"]


class FanoutResult(AsyncResult):
    """The result of a call that reached several queues: that of the first, in alphabetical order of the queues.

    ``copies`` are the results of all of them.
    """

    __slots__ = ("copies",)

    copies: list[AsyncResult]


class UniqueResult(AsyncResult):
    """The result of a unique call: that of the task that it inserted, or found instead.

    ``created`` says whether it inserted one.
    """

    __slots__ = ("created",)

    created: bool


def result_of(answers: Sequence[Answer], transactions: Sequence[EnqueuedIn | None], *, ignored: bool) -> AsyncResult:
    """Return the result of a call that inserted, or found, these tasks."""
    ids = [answer.task_id for answer in answers]
    if len(ids) > 1:
        several = FanoutResult.enqueued(ids[0], transactions[0], ignored=ignored)
        assert isinstance(several, FanoutResult)
        copies = zip(ids, transactions, strict=True)
        several.copies = [AsyncResult.enqueued(*copy, ignored=ignored) for copy in copies]
        return several
    if answers[0].did is None:
        return AsyncResult.enqueued(ids[0], transactions[0], ignored=ignored)
    unique = UniqueResult.enqueued(ids[0], transactions[0], ignored=ignored)
    assert isinstance(unique, UniqueResult)
    unique.created = answers[0].did is Did.INSERTED
    return unique


def _refuse_connection(connection: object) -> None:
    if connection is not None:
        raise TypeError(f"expected connection to be None, for there is no broker, got: {connection!r}")
