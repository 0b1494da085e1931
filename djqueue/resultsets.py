"""Sets of results: wait for all of them with one look at the database each time."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from django.db import connections

from .conf import settings
from .context import inside_task
from .exceptions import ImproperlyConfigured, TimeoutError
from .records import StoredResult
from .resulttree import ResultNode
from .serializers import decode, encode
from .store.groups import delete_group, read_group, save_group
from .store.results import read_results
from .store.wakeup import send_held_back
from .uuid7 import as_task_id, new_task_id

LONGEST_PAUSE = 0.5
FIRST_LOOK = 0.0005


class ResultSet(ResultNode):
    """Any number of results, in order."""

    def __init__(self, results: Iterable[Any] = (), **options: Any) -> None:
        self.results: list[Any] = list(results)

    def add(self, result: Any) -> None:
        """Add a result unless it is there already."""
        if result not in self.results:
            self.results.append(result)

    def update(self, results: Iterable[Any]) -> None:
        self.results.extend(result for result in results if result not in self.results)

    def remove(self, result: Any) -> None:
        """Remove a result, given by itself or by its id. Raises ``KeyError`` if it is not there."""
        try:
            self.results.remove(result)
        except ValueError:
            raise KeyError(result) from None

    def discard(self, result: Any) -> None:
        if result in self.results:
            self.results.remove(result)

    def clear(self) -> None:
        self.results.clear()

    @property
    def supports_native_join(self) -> bool:
        return all(isinstance(leaf, self.of_task) for leaf in self.leaves())

    def leaves(self) -> Iterator[Any]:
        """Yield the results of single tasks, also those of groups in this one."""
        for result in self.results:
            if isinstance(result, ResultSet):
                yield from result.leaves()
            else:
                yield result

    def ready(self) -> bool:
        """Whether all have finished, however they ended."""
        return all(result.ready() for result in self.results)

    def successful(self) -> bool:
        return all(result.successful() for result in self.results)

    def failed(self) -> bool:
        """Whether any has failed."""
        return any(result.failed() for result in self.results)

    def waiting(self) -> bool:
        """Whether any has not finished."""
        return any(not result.ready() for result in self.results)

    def completed_count(self) -> int:
        """How many have succeeded."""
        return sum(bool(result.successful()) for result in self.results)

    def forget(self) -> None:
        for result in self.results:
            result.forget()

    def revoke(self, terminate: bool = False, **options: Any) -> None:
        """Cancel every task that has not started."""
        for result in self.results:
            result.revoke(terminate=terminate, **options)

    def maybe_throw(self, callback: Callable[[str, Any], Any] | None = None, propagate: bool = True) -> None:
        for result in self.results:
            result.maybe_throw(callback=callback, propagate=propagate)

    maybe_reraise = maybe_throw

    def get(
        self,
        timeout: float | None = None,
        propagate: bool = True,
        interval: float = LONGEST_PAUSE,
        callback: Callable[[str, Any], Any] | None = None,
        disable_sync_subtasks: bool = True,
        on_interval: Callable[[], Any] | None = None,
        on_message: None = None,
    ) -> list[Any]:
        """Wait for all and return their results in order.

        One that failed raises its exception as soon as it is known, unless ``propagate`` is false, when it is among the
        results. ``timeout`` is for all together; then ``djqueue.exceptions.TimeoutError`` is raised. ``on_interval`` is
        called after each look that did not find all; ``on_message`` is for single results only.
        """
        if on_message is not None:
            raise ImproperlyConfigured("expected on_message in the get() of one task's result: a set of them has none")
        if disable_sync_subtasks and inside_task():
            raise RuntimeError(
                "never call get() or join() within a task: it blocks a slot that the awaited tasks may need. Use a "
                "chord, or pass disable_sync_subtasks=False if you know better."
            )
        if not self.supports_native_join:
            return self._one_by_one(timeout, propagate=propagate, callback=callback)
        found: dict[str, StoredResult] = {}
        for _ in self._arrivals(found, timeout, interval, propagate=propagate, on_interval=on_interval):
            pass
        return self._values(found, propagate=propagate, callback=callback)

    join = get
    join_native = get

    def _one_by_one(self, timeout: float | None, **options: Any) -> list[Any]:
        """Return the values where some are not stored, as in eager mode: there is no one look that finds them all."""
        ends = None if timeout is None else time.monotonic() + timeout
        values = []
        for result in self.results:
            left = None if ends is None else max(0.0, ends - time.monotonic())
            values.append(result.get(timeout=left, disable_sync_subtasks=False, **options))
        return values

    def _values(self, found: dict[str, StoredResult], *, propagate: bool, callback: Any) -> list[Any]:
        values = []
        for result in self.results:
            if isinstance(result, ResultSet):
                value: Any = result._values(found, propagate=propagate, callback=None)
            else:
                value = None if result.ignored else result.outcome_of(found[result.id], propagate=propagate)
            if callback is not None:
                callback(result.id, value)
            values.append(value)
        return values

    def _arrivals(
        self,
        found: dict[str, StoredResult],
        timeout: float | None,
        interval: float,
        *,
        propagate: bool,
        on_interval: Callable[[], Any] | None = None,
    ) -> Iterator[list[str]]:
        """Put results into ``found`` until all are there, yielding the ids that are new after each look."""
        began = time.monotonic()
        waiting: dict[str, Any] = {leaf.id: leaf for leaf in self.leaves() if not leaf.ignored}
        connection = connections[settings.DATABASE]
        for leaf in waiting.values():
            leaf._check_visible()
        while waiting:
            with connection.cursor() as cursor:
                new = read_results(cursor, list(waiting))
            found.update(new)
            for id in [id for id in waiting if id in new]:
                leaf = waiting.pop(id)
                if propagate:
                    leaf.outcome_of(new[id], propagate=True, follow_parents=True)
            if new:
                yield list(new)
            if not waiting:
                return
            if on_interval is not None:
                on_interval()
            send_held_back(connection)
            waited = time.monotonic() - began
            if timeout is not None and waited >= timeout:
                raise TimeoutError(f"{len(waiting)} of the results did not come within {timeout:g} s")
            pause = min(interval, max(FIRST_LOOK, waited * 0.1))
            time.sleep(pause if timeout is None else min(pause, timeout - waited))

    def iter_native(self, timeout: float | None = None, interval: float = LONGEST_PAUSE, **options: Any) -> Any:
        """Yield ``(id, {"task_id", "status", "result"})`` of each task as it finishes."""
        found: dict[str, StoredResult] = {}
        by_id = {leaf.id: leaf for leaf in self.leaves()}
        for ids in self._arrivals(found, timeout, interval, propagate=False):
            for id in ids:
                value = by_id[id].outcome_of(found[id], propagate=False)
                yield id, {"task_id": id, "status": found[id].celery_state, "result": value}

    def __iter__(self) -> Iterator[Any]:
        return iter(self.results)

    def __getitem__(self, place: Any) -> Any:
        return self.results[place]

    def __len__(self) -> int:
        return len(self.results)

    def __contains__(self, result: object) -> bool:
        return result in self.results

    def __eq__(self, other: object) -> bool:
        return self.results == other.results if isinstance(other, ResultSet) else NotImplemented

    def __hash__(self) -> int:
        raise TypeError("a set of results changes, so it has no hash")

    def __repr__(self) -> str:
        return f"<{type(self).__name__}: [{', '.join(str(r) for r in self.results)}]>"


class GroupResult(ResultSet):
    """The results of a group, in the order of its members. Its id is the group's."""

    def __init__(self, id: str | None = None, results: Iterable[Any] = (), parent: Any = None, **options: Any) -> None:
        super().__init__(results)
        self.id = new_task_id() if id is None else as_task_id(id)
        self.parent = parent

    @property
    def children(self) -> list[Any]:
        """The results of the members."""
        return self.results

    def forget(self) -> None:
        """Delete the members, and what was before them in their chain, with their results."""
        if self.parent is not None:
            self.parent.forget()
        super().forget()

    def as_tuple(self) -> tuple[Any, Any]:
        head = self.id, None if self.parent is None else self.parent.as_tuple()
        return head, [result.as_tuple() for result in self.results]

    def save(self) -> GroupResult:
        """Store the ids of the results, so that ``restore`` finds them, and return itself."""
        with connections[settings.DATABASE].cursor() as cursor:
            save_group(cursor, self.id, encode(self.as_tuple()))
        return self

    def delete(self) -> None:
        """Undo ``save``; the results stay."""
        with connections[settings.DATABASE].cursor() as cursor:
            delete_group(cursor, self.id)

    @classmethod
    def restore(cls, id: str) -> GroupResult | None:
        """Return the group result that was saved under an id, or None."""
        with connections[settings.DATABASE].cursor() as cursor:
            text = read_group(cursor, as_task_id(id))
        return None if text is None else cls._of_tuple(decode(text))

    @classmethod
    def _of_tuple(cls, given: Any) -> Any:
        (id, parent), members = given
        before = None if parent is None else cls._of_tuple(parent)
        if members is None:
            return cls.of_task(id, before)
        return cls(id, [cls._of_tuple(member) for member in members], before)

    def __eq__(self, other: object) -> bool:
        if isinstance(other, GroupResult):
            return self.id == other.id and self.results == other.results and self.parent == other.parent
        return self.id == other if isinstance(other, str) else NotImplemented

    def __hash__(self) -> int:
        return hash(self.id)

    def __bool__(self) -> bool:
        return True

    def __str__(self) -> str:
        return self.id

    def __repr__(self) -> str:
        return f"<GroupResult: {self.id} [{', '.join(str(r) for r in self.results)}]>"


def result_from_tuple(given: Any) -> Any:
    """Return the result whose ``as_tuple()`` this is, or a result as it is."""
    return given if isinstance(given, ResultNode) else GroupResult._of_tuple(given)
