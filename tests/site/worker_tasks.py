"""More tasks, which leave their traces in a file: it outlives rolled back transactions and crashed servers."""

from __future__ import annotations

import asyncio
import ctypes
import logging
import os
import sys
import time
from typing import Any

from django.db import connection

from djqueue import shared_task

from .models import Mark

logger = logging.getLogger(__name__)


def note(path: str, *words: object) -> None:
    """Append a line; lines of several processes do not mix."""
    descriptor = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT)
    os.write(descriptor, (" ".join(map(str, words)) + "\n").encode())
    os.close(descriptor)


@shared_task(bind=True)
def notes(self: Any, path: str, text: object, seconds: float = 0.0, until: str = "") -> int:
    """Says that it has begun, takes its time or waits for a file, and returns the number of its attempt."""
    attempt = self.request.attempt
    note(path, text, attempt, os.getpid())
    if seconds:
        time.sleep(seconds)
    while until and not os.path.exists(until):
        time.sleep(0.01)
    return attempt


@shared_task
async def begins_and_sleeps(path: str, seconds: float) -> None:
    note(path, "begun", os.getpid())
    await asyncio.sleep(seconds)


@shared_task
def cleans_up(path: str, seconds: float) -> None:
    note(path, "begun", os.getpid())
    try:
        time.sleep(seconds)
    finally:
        note(path, "cleaned up", os.getpid())


@shared_task
def does_not_listen(path: str, seconds: float) -> None:
    """Goes on whatever is raised in it."""
    end = time.monotonic() + seconds
    note(path, "begun", os.getpid())
    while time.monotonic() < end:
        try:
            time.sleep(max(0.0, end - time.monotonic()))
        except BaseException as error:
            note(path, "ignored", type(error).__name__)


@shared_task(bind=True)
def marks_steadily(self: Any, seconds: float) -> int:
    """Leaves a mark, dated by the database, every few milliseconds."""
    attempt = self.request.attempt
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        Mark.objects.create(name=f"{attempt}")
        time.sleep(0.02)
    return attempt


@shared_task
def segfaults() -> None:
    ctypes.string_at(0)


@shared_task
def runs_out_of_memory() -> None:
    bytearray(1 << 62)


@shared_task
def returns_number(digits: int) -> int:
    """A number of more than 131,072 digits is JSON, but no value for PostgreSQL."""
    sys.set_int_max_str_digits(0)
    return 10**digits


@shared_task
def returns_nested(depth: int) -> Any:
    nested: Any = None
    for _ in range(depth):
        nested = [nested]
    return nested


@shared_task
def begins_by_hand() -> None:
    """Opens a transaction that Django does not know of."""
    with connection.cursor() as cursor:
        cursor.execute("BEGIN")


@shared_task
def breaks_its_transaction() -> None:
    """Leaves autocommit off, and the transaction failed."""
    connection.set_autocommit(False)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


@shared_task
def loses_its_connection() -> None:
    """Its connection is ended by somebody else, and it does not notice."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_backend_pid()")
        (pid,) = cursor.fetchone()
    other = connection.copy()
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(%s)", (pid,))
    other.close()


@shared_task
def logs(text: str) -> None:
    logger.warning(text)


@shared_task(bind=True)
def leaves_a_child_and_dies(self: Any, path: str) -> int:
    """In its first attempt forks a process that outlives it and holds on to all that it had open."""
    if self.request.delivery_info["redelivered"]:
        return 2
    if os.fork() == 0:
        note(path, os.getpid())
        time.sleep(60)
        os._exit(0)
    os.kill(os.getpid(), 9)
    return 1


@shared_task
async def counts_marks() -> int:
    return await Mark.objects.acount()
