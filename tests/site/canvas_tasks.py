"""Tasks for workflows."""

from __future__ import annotations

from typing import Any

from djqueue import chain, group, shared_task
from djqueue.exceptions import Ignore, Reject

seen: list[list[Any]] = []
"""What errbacks were called with, for tests that run them in their own process."""


@shared_task
def add(x: Any, y: Any) -> Any:
    return x + y


@shared_task
def mul(x: Any, y: Any) -> Any:
    return x * y


@shared_task
def identity(value: Any = None) -> Any:
    return value


@shared_task
def tsum(numbers: list[Any]) -> Any:
    return sum(numbers)


@shared_task
def boom(*args: Any) -> None:
    raise ValueError("boom")


@shared_task
def ignoring(reject: bool = False) -> None:
    raise Reject() if reject else Ignore()


@shared_task(bind=True)
def replaced_by_chain(self: Any, number: int) -> Any:
    if not number:
        self.replace(chain())
    self.replace(add.s(number, number) | mul.s(3))


@shared_task(bind=True)
def replaced_by_group(self: Any, x: int, y: int) -> Any:
    raise self.replace(group(add.si(x, y), mul.si(x, y)))


@shared_task
def add_with_group() -> Any:
    return group(add.s(1, 1), add.s(2, 2)).apply_async().get(disable_sync_subtasks=False)


@shared_task
def err_with_id(task_id: Any) -> None:
    seen.append(["id", task_id])


@shared_task
def err_with_error(request: Any, exc: BaseException, traceback: str, *stored: Any) -> None:
    seen.append(["error", request.id, str(exc), *stored])


@shared_task
def raises_in_errback(task_id: Any) -> None:
    raise KeyError(task_id)
