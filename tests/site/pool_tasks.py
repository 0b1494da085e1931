"""Tasks for every pool: they meet others, take too long, clean up, or kill their executor."""

from __future__ import annotations

import asyncio
import contextvars
import os
import signal
import threading
import time
from pathlib import Path
from typing import Any

from asgiref.sync import sync_to_async
from django.db import connection

from djqueue import current_task, shared_task
from djqueue.exceptions import SoftTimeLimitExceeded

from .models import Mark
from .worker_tasks import note

seen: contextvars.ContextVar[str] = contextvars.ContextVar("seen", default="nothing")


def _notes(path: str) -> int:
    try:
        return len(Path(path).read_text().splitlines())
    except FileNotFoundError:
        return 0


@shared_task(bind=True)
def meets(self: Any, path: str, number: int) -> list[Any]:
    """Waits until ``number`` tasks have begun, so it ends only if they run at once. Says who and where it is."""
    before = seen.get()
    seen.set(self.request.id)
    note(path, os.getpid(), threading.get_ident())
    while _notes(path) < number:
        time.sleep(0.01)
    return [self.request.id, current_task.request.id, before, seen.get(), os.getpid()]


@shared_task(bind=True)
async def meets_async(self: Any, path: str, number: int) -> list[Any]:
    before = seen.get()
    seen.set(self.request.id)
    note(path, os.getpid(), threading.get_ident())
    while _notes(path) < number:  # noqa: ASYNC110 - its siblings may be in other processes
        await asyncio.sleep(0.01)
    return [self.request.id, current_task.request.id, before, seen.get(), os.getpid()]


@shared_task
def process() -> int:
    return os.getpid()


@shared_task
async def sleeps_on_the_loop(seconds: float) -> int:
    await asyncio.sleep(seconds)
    return os.getpid()


@shared_task
async def waits_at_a_gate(path: str, gate: str) -> None:
    """Ends when there is a file named ``gate``."""
    note(path, os.getpid())
    while not Path(gate).exists():  # noqa: ASYNC110, ASYNC240 - who opens it is in another process
        await asyncio.sleep(0.2)


@shared_task
def sleeps_here(path: str, seconds: float) -> int:
    """Sleeps in many small steps, so that it can be interrupted in a thread, too."""
    note(path, "begun", os.getpid())
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            time.sleep(0.01)
    except BaseException as error:
        note(path, type(error).__name__)
        raise
    return os.getpid()


@shared_task
async def sleeps_there(path: str, seconds: float) -> int:
    note(path, "begun", os.getpid())
    try:
        await asyncio.sleep(seconds)
    except BaseException as error:
        note(path, type(error).__name__)
        raise
    return os.getpid()


@shared_task
def catches_its_limit(seconds: float) -> str:
    end = time.monotonic() + seconds
    try:
        while time.monotonic() < end:
            time.sleep(0.01)
    except SoftTimeLimitExceeded:
        return "caught"
    return "in time"


@shared_task
async def catches_its_limit_async(seconds: float) -> str:
    try:
        await asyncio.sleep(seconds)
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0.01)
        return "caught"
    return "in time"


@shared_task
def sleeps_in_one_piece(seconds: float) -> str:
    try:
        time.sleep(seconds)
    except SoftTimeLimitExceeded:
        return "caught"
    return "in time"


@shared_task
async def blocks_the_loop(seconds: float) -> None:
    time.sleep(seconds)  # noqa: ASYNC251 - that is the point


@shared_task
def ignores_all(path: str, seconds: float) -> None:
    """Goes on whatever is raised in it."""
    note(path, "begun", os.getpid())
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        try:
            time.sleep(0.05)
        except BaseException as error:
            note(path, "ignored", type(error).__name__)


@shared_task(bind=True)
def kills_its_executor(self: Any, path: str, number: int) -> int:
    """When ``number`` tasks have begun, ends the process in its first attempt."""
    if self.request.attempt == 1:
        while _notes(path) < number:
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGKILL)
    return int(self.request.attempt)


@shared_task(bind=True)
def waits_for_abort(self: Any, path: str) -> str:
    note(path, "begun")
    while not self.is_aborted():
        time.sleep(0.01)
    return "heard"


@shared_task
def counts_in_a_transaction() -> int:
    """Leaves its transaction open."""
    connection.set_autocommit(False)
    Mark.objects.create(name="never")
    return Mark.objects.count()


@shared_task
async def uses_the_orm(name: str) -> int:
    await Mark.objects.acreate(name=name)
    return await Mark.objects.filter(name=name).acount()


@shared_task
async def backend() -> int:
    """Returns the number of the server process that serves this coroutine."""

    def ask() -> int:
        with connection.cursor() as cursor:
            cursor.execute("SELECT pg_backend_pid()")
            return int(cursor.fetchone()[0])

    return await sync_to_async(ask)()


@shared_task
def takes_memory(mebibytes: int) -> int:
    taken.append(bytearray(os.urandom(1)) * (mebibytes << 20))
    return os.getpid()


taken: list[bytearray] = []


@shared_task(bind=True)
def shows_progress(self: Any, path: str, number: int) -> None:
    for place in range(number):
        self.update_state(state="PROGRESS", meta={"place": place})
    note(path, "shown")
    time.sleep(1)
