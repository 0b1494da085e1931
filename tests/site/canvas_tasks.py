"""Tasks for workflows."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import time
from datetime import date
from typing import Any

from djqueue import Signature, chain, chord, group, shared_task
from djqueue.exceptions import Ignore, Reject

from .models import Mark
from .worker_tasks import note

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


@shared_task(ignore_result=True)
def ignored_result(value: Any) -> Any:
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


@shared_task(bind=True, max_retries=3)
def succeeds_at(self: Any, value: Any, attempt: int) -> Any:
    if self.request.retries + 1 < attempt:
        raise self.retry(countdown=0)
    return value


@shared_task(bind=True)
def ids(self: Any, *args: Any) -> list[Any]:
    request = self.request
    return [request.id, request.root_id, request.parent_id, request.group, request.group_index]


@shared_task(bind=True)
def stamps_of(self: Any, *args: Any) -> Any:
    return self.request.stamps


@shared_task(bind=True)
def replaced_by(self: Any, value: Any, sig: dict[str, Any] | None = None) -> Any:
    """Replace itself by a canvas that is applied to the value."""
    if sig is None:
        return value
    self.replace(Signature.from_dict(sig).clone((value,)))


@shared_task(bind=True)
def replaced_by_chain(self: Any, number: int) -> Any:
    if not number:
        self.replace(chain())
    self.replace(add.s(number, number) | mul.s(3))


@shared_task(bind=True)
def replaced_by_group(self: Any, x: int, y: int) -> Any:
    raise self.replace(group(add.si(x, y), mul.si(x, y)))


@shared_task(bind=True)
def replaced_deeply(self: Any, depth: int) -> Any:
    """Return ``[nesting]`` of the innermost replacement, wrapped once for each level."""
    nesting = self.request.replaced_task_nesting or 0
    if depth == 0:
        return [nesting]
    self.replace(replaced_deeply.s(depth - 1) | wrap.s())


@shared_task
def wrap(value: Any) -> Any:
    return [value]


@shared_task(bind=True)
def replaced_by_failure(self: Any) -> Any:
    self.replace(add.s(1, 1) | boom.s())


@shared_task(bind=True)
def adds_members(self: Any, value: Any, number: int) -> Any:
    for extra in range(number):
        self.add_to_chord(identity.s(f"extra {extra}"))
    return value


@shared_task(bind=True)
def applies(self: Any, kind: str, add_to_parent: bool = True) -> Any:
    """Apply something, and return the ids of its children."""
    made: Any = {
        "task": lambda: add.apply_async((1, 1), add_to_parent=add_to_parent),
        "group": lambda: group(add.s(1, 1), add.s(2, 2)).apply_async(add_to_parent=add_to_parent),
        "chain": lambda: (add.s(1, 1) | add.s(1)).apply_async(add_to_parent=add_to_parent),
        "chord": lambda: chord([add.s(1, 1), add.s(2, 2)], tsum.s()).apply_async(add_to_parent=add_to_parent),
    }[kind]()
    return [made.id, [child.id for child in self.request.children or ()]]


@shared_task
def noted(path: str, *words: Any) -> str:
    note(path, *words)
    return path


@shared_task
def note_value(value: Any, path: str) -> Any:
    note(path, value)
    return value


@shared_task
def waits_for_file(value: Any, path: str) -> Any:
    """Return the value once the file exists."""

    while not os.path.exists(path):
        time.sleep(0.01)
    return value


@shared_task(bind=True)
def kills_its_executor(self: Any, times: int, value: Any) -> Any:
    if self.request.attempt <= times:
        os.kill(os.getpid(), signal.SIGKILL)
    return value


@shared_task
def add_with_group() -> Any:
    return group(add.s(1, 1), add.s(2, 2)).apply_async().get(disable_sync_subtasks=False)


@shared_task
def err_with_id(task_id: Any) -> None:
    seen.append(["id", task_id])


@shared_task
def note_id(task_id: Any, path: str) -> None:
    note(path, "id", task_id)


@shared_task(bind=True)
def note_id_bound(self: Any, task_id: Any, path: str) -> None:
    note(path, "bound", task_id)


@shared_task
def note_error(request: Any, exc: BaseException, traceback: str, path: str) -> None:
    note(path, "error", request.id, type(exc).__name__, "Traceback" in str(traceback))


@shared_task
def note_words(path: str, *words: Any) -> None:
    note(path, *words)


@shared_task
def err_with_error(request: Any, exc: BaseException, traceback: str, *stored: Any) -> None:
    seen.append(["error", request.id, str(exc), *stored])


@shared_task
def raises_in_errback(task_id: Any) -> None:
    raise KeyError(task_id)


@shared_task
def fails_without_file(value: Any, path: str) -> Any:
    if not os.path.exists(path):
        raise FileNotFoundError(path)
    return value


def mixed(*values: Any) -> str:
    """Return a short text that tells apart what it was made of."""
    return hashlib.sha256(json.dumps(values).encode()).hexdigest()[:8]


@shared_task(bind=True, max_retries=1, typing=False)
def mix(self: Any, *args: Any, how: str = "", by: Any = None) -> Any:
    """Mix the arguments; ``how`` makes it fail, retry, ignore or be replaced by the canvas ``by`` first."""
    if how == "fail":
        raise ValueError(args[-1])
    if how == "ignore":
        raise Ignore
    if how == "retry" and not self.request.retries:
        self.retry(countdown=0)
    if how == "replace":
        self.replace(Signature.from_dict(by).clone((mixed(*args),)))
    return mixed(*args)


@shared_task
def describe_error(request: Any, exc: BaseException, traceback: str, path: str) -> None:
    note(path, *request.args, *request.kwargs.values(), *exc.args)


@shared_task
def fails_with(*args: Any, **kwargs: Any) -> None:
    raise ValueError("wrong", *args)


@shared_task
def double_all(amounts: set[int], due: date | None = None) -> set[int]:
    assert type(amounts) is set, amounts
    assert due is None or type(due) is date, due
    return {amount * 2 for amount in amounts}


@shared_task
def total(sets: list[set[int]], due: date) -> int:
    assert [type(one) for one in sets] == [set] * len(sets)
    assert type(due) is date
    return sum(amount for one in sets for amount in one)


@shared_task(bind=True, max_retries=1)
def keeps_its_arguments(self: Any, value: Any, by: int, *, changed: bool = False) -> Any:
    if not self.request.retries:
        self.retry(kwargs={"changed": True}, countdown=0)
    return [value, by, changed]


@shared_task(transactional=True, bind=True)
def commits(self: Any, value: Any, ending: str = "") -> Any:
    Mark.objects.create(name=str(value))
    if ending == "fails":
        raise ValueError("undone")
    if ending == "is replaced":
        self.replace(add.s(1, 1))
    if ending == "adds a member":
        self.add_to_chord(identity.s(1))
    return value


@shared_task(transactional=True, ignore_result=True)
def commits_and_ignores(value: Any) -> Any:
    return value


@shared_task(bind=True)
async def replaced_by_sum(self: Any, value: Any) -> Any:
    self.replace(add.s(value, 1))


@shared_task(bind=True)
async def adds_a_member(self: Any, value: Any) -> Any:
    self.add_to_chord(identity.s(value))
    return value


@shared_task
async def ignores_asynchronously(value: Any) -> None:
    raise Ignore


@shared_task
async def note_error_asynchronously(request: Any, exc: BaseException, traceback: str, path: str) -> None:
    note(path, request.id, type(exc).__name__)


@shared_task(bind=True)
def tells_what_follows(self: Any, value: Any) -> Any:
    """Return what waits for it, by name and arguments, and its errbacks."""
    request = self.request

    def told(sig: Any) -> Any:
        return [told(task) for task in sig.tasks] if sig.subtask_type == "group" else [sig.task, *sig.args]

    return [
        [told(step) for step in request.chain or ()],
        [told(link) for link in request.get("callbacks") or ()],
        [errback["task"] for errback in request.errbacks or ()],
    ]


@shared_task(bind=True)
def retries_with(self: Any, options: dict[str, Any]) -> str:
    """Return what is said of options that a retry cannot change."""
    try:
        self.retry(countdown=0, **options)
    except TypeError as error:
        return str(error)
    return "retried"
