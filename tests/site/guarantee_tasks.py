"""Tasks that run at most once or exactly once, and tasks that are cancelled while they run."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from typing import Any

import psycopg
from django.db import connection, transaction
from django.db.models import F

from djqueue import shared_task, signals
from djqueue.exceptions import Reject, TaskRevokedError

from .models import Mark, Tally
from .worker_tasks import note


@shared_task(transactional=True)
def tallies(name: str, pause: float = 0.0) -> None:
    Tally.objects.filter(name=name).update(count=F("count") + 1)
    time.sleep(pause)


@shared_task(transactional=True, bind=True, max_retries=1)
def tallies_and(self: Any, name: str, ending: str) -> int:
    Tally.objects.filter(name=name).update(count=F("count") + 1)
    if ending == "raises":
        raise ValueError("undone")
    if ending == "retries":
        self.retry(countdown=0.01)
    if ending == "retries without throwing":
        self.retry(countdown=0.01, throw=False)
    if ending == "returns nonsense":
        return object()  # type: ignore[return-value]
    if ending == "enqueues and raises":
        leaves_a_mark.delay("child")
        raise ValueError("undone")
    if ending == "loses its lease":
        # As if another worker had reclaimed it meanwhile.
        with psycopg.connect(**connection.get_connection_params(), autocommit=True) as other:
            other.execute("UPDATE djqueue_runningtask SET worker_id = 0 WHERE task_id = %s", (self.request.id,))
    if ending == "loses its connection":
        with connection.cursor() as cursor, transaction.atomic():
            cursor.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    return 7


@shared_task
def leaves_a_mark(name: str) -> None:
    Mark.objects.create(name=name)


@shared_task(transactional=True, ignore_result=True)
def tallies_and_leaves_nothing(name: str) -> None:
    Tally.objects.filter(name=name).update(count=F("count") + 1)


@shared_task(acks_late=False, bind=True)
def at_most_once(self: Any, path: str, until: str = "", ending: str = "") -> str:
    note(path, self.request.attempt, os.getpid())
    while until and not os.path.exists(until):
        time.sleep(0.01)
    if ending == "requeues" and self.request.attempt == 1:
        raise Reject("once more", requeue=True)
    if ending == "retries" and self.request.attempt == 1:
        self.retry(countdown=0)
    return "done"


@shared_task(reject_on_worker_lost=False, bind=True)
def not_again_after_a_crash(self: Any, path: str, until: str) -> None:
    note(path, self.request.attempt, os.getpid())
    while not os.path.exists(until):
        time.sleep(0.01)


@shared_task(bind=True)
def asks_whether_it_is_wanted(self: Any, path: str, ending: str) -> str:
    note(path, "started")
    while not self.is_aborted():
        time.sleep(0.01)
    note(path, "aborted")
    if ending == "raises":
        raise TaskRevokedError("stopped half way")
    return "stopped in good order"


@shared_task
async def waits(path: str) -> None:
    note(path, "started")
    try:
        await asyncio.sleep(600)
    finally:
        note(path, "cleaned up")


@shared_task
def cleans_up_on_sigusr2(path: str) -> str:
    asked = []
    before = signal.signal(signal.SIGUSR2, lambda *ignored: asked.append(True))
    try:
        note(path, "started")
        while not asked:
            time.sleep(0.01)
        note(path, "cleaned up")
    finally:
        signal.signal(signal.SIGUSR2, before)
    return "ended by itself"


@shared_task
def sleeps_soundly(path: str) -> None:
    note(path, "started", os.getpid())
    time.sleep(600)


@signals.task_revoked.connect
def noted_revoked(sender: Any, request: Any, terminated: bool, signum: Any, expired: bool, **kwargs: Any) -> None:
    if request.args and str(request.args[0]).startswith("/"):
        note(request.args[0], "task_revoked", terminated, signum, expired)
