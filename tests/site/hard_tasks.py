"""Tasks that try what nobody should, and must harm nobody but themselves."""

from __future__ import annotations

import asyncio
import datetime
import time
from typing import Any

from django.db import transaction

from djqueue import TaskDefinition, shared_task
from djqueue.exceptions import Retry

from .worker_tasks import note


@shared_task
def retries_by_hand(seconds: float) -> None:
    raise Retry(when=seconds)


@shared_task(bind=True)
def retries_at(self: Any, path: str, seconds: float) -> None:
    note(path, self.request.retries, time.monotonic())
    if not self.request.retries:
        raise Retry(when=datetime.datetime.now(datetime.UTC) + datetime.timedelta(seconds=seconds))


@shared_task(bind=True, max_retries=None)
def polls(self: Any, until: int) -> int:
    if self.request.attempt < until:
        self.retry(countdown=0)
    return int(self.request.attempt)


@shared_task(bind=True)
def shows_a_strange_state(self: Any, state: str) -> None:
    self.update_state(state=state)


@shared_task
async def cleans_up_slowly(path: str, seconds: float) -> None:
    note(path, "begun")
    try:
        await asyncio.sleep(600)
    finally:
        note(path, "cleaning")
        await asyncio.sleep(seconds)
        note(path, "cleaned")


class Tells(TaskDefinition):
    def on_success(self, retval: Any, task_id: str, args: Any, kwargs: Any) -> None:
        note(args[0], "success")
        time.sleep(0.5)

    def on_failure(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(args[0], "failure")

    def on_retry(self, exc: BaseException, task_id: str, args: Any, kwargs: Any, einfo: Any) -> None:
        note(args[0], "retry")


@shared_task(base=Tells)
async def returns_to_its_hook(path: str) -> int:
    return 5


def fails() -> None:
    raise ZeroDivisionError("after the commit")


@shared_task(base=Tells, transactional=True, autoretry_for=(ZeroDivisionError,))
def commits_and_then_fails(path: str) -> int:
    transaction.on_commit(fails)
    return 5
