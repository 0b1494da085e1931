"""Tasks written as a user of Celery writes them."""

from __future__ import annotations

import os
import time
from typing import Any

from djqueue import TaskDefinition, current_task, register_task, shared_task, signals
from djqueue.exceptions import Ignore, Reject

from .worker_tasks import note


class Sour(Exception):
    pass


@shared_task(bind=True, max_retries=2, default_retry_delay=0)
def always_retries(self: Any, path: str) -> None:
    note(path, self.request.retries)
    raise self.retry(exc=Sour("still sour"))


@shared_task(bind=True, max_retries=5)
def retries_with_less(self: Any, number: int, step: int = 1) -> int:
    if number <= 0:
        return self.request.retries
    raise self.retry(args=(number - step,), kwargs={"step": 2}, countdown=0.01)


@shared_task(
    bind=True, autoretry_for=[ValueError], dont_autoretry_for=[UnicodeError], retry_backoff=0.02, max_retries=3
)
def retried_by_itself(self: Any, path: str, kind: str = "value") -> int:
    note(path, self.request.retries)
    if kind == "unicode":
        raise UnicodeError("not retried")
    if self.request.retries < 2:
        raise ValueError("again")
    return self.request.retries


@shared_task(bind=True, default_retry_delay=3600)
def retries_in_an_hour(self: Any) -> None:
    raise self.retry(exc=Sour("later"))


class Patient(TaskDefinition):
    """The common pattern of a base that retries all of its tasks from one place."""

    autoretry_for = (KeyError,)
    retry_kwargs = {"max_retries": 1}
    retry_backoff = 0.01
    retry_backoff_max = 0.02
    retry_jitter = True
    max_retries = 4

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(args[0], "failure", type(exc).__name__, self.request.retries)
        super().on_failure(exc, task_id, args, kwargs, einfo)
        self.retry(exc=exc, countdown=0.01)


@shared_task(base=Patient, bind=True)
def patient(self: Any, path: str, until: int) -> int:
    note(path, "run", self.request.retries)
    if self.request.retries < until:
        raise KeyError("sour")
    return self.request.retries


class Hooked(TaskDefinition):
    def before_start(self, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], "before_start", task_id)

    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], "on_success", retval)
        raise RuntimeError("of no consequence")

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(args[0], "on_failure", repr(exc), "Traceback" in str(einfo))

    def after_return(self, status: str, retval: Any, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(args[0], "after_return", status)


@shared_task(base=Hooked)
def hooked(path: str, fail: bool = False) -> str:
    note(path, "run")
    if fail:
        raise Sour("hooked")
    return "fine"


class Counter(TaskDefinition):
    """Written as a class: one instance in each process, which keeps its attributes."""

    name = "tests.counter"

    def __init__(self) -> None:
        self.calls = 0

    def run(self, by: int = 1) -> int:
        self.calls += by
        return self.calls


counter = register_task(Counter())


@shared_task(bind=True)
def shows_progress(self: Any, path: str, until: str) -> str:
    self.update_state(state="PROGRESS", meta={"done": 3, "of": 10})
    note(path, "shown")
    while not os.path.exists(until):
        time.sleep(0.01)
    return current_task.name


@shared_task
def ignores_itself() -> None:
    raise Ignore


@shared_task
def rejects_itself() -> None:
    raise Reject("no thanks")


@shared_task(bind=True)
def rejects_until_redelivered(self: Any) -> list[Any]:
    if not self.request.delivery_info["redelivered"]:
        raise Reject("once more", requeue=True)
    return [self.request.retries, self.request.attempt]


@shared_task(bind=True)
def rejects_first(self: Any) -> bool:
    path = self.request.headers["path"]
    if not os.path.exists(path):
        note(path, "rejected")
        raise Reject("once more", requeue=True)
    return True


@shared_task(bind=True)
def tells_its_request(self: Any) -> dict[str, Any]:
    request = self.request
    return {
        name: getattr(request, name)
        for name in ("id", "root_id", "parent_id", "headers", "shadow", "properties", "stamps", "expires", "retries")
    }


@shared_task(bind=True)
def has_a_child(self: Any) -> list[str]:
    child = tells_its_request.delay()
    return [self.request.id, child.id, str(self.request.children == [child])]


@signals.task_prerun.connect(sender=hooked)
def noted_prerun(task_id: str, args: Any, **kwargs: Any) -> None:
    note(args[0], "task_prerun")


@signals.task_postrun.connect(sender=hooked)
def noted_postrun(state: str, args: Any, **kwargs: Any) -> None:
    note(args[0], "task_postrun", state)


@shared_task(throws=(KeyError,))
def expects_errors(kind: str) -> None:
    raise {"KeyError": KeyError, "ValueError": ValueError}[kind]("sour")
