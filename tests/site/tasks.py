"""A menu of tasks: those that behave, those that fail, and those that take their process with them."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
import time
from typing import Any

from django.db import transaction

from djqueue import shared_task

from .models import Mark


class TooSour(Exception):
    """A task's own kind of error."""


class Stubborn(Exception):
    """Its constructor takes something else than the arguments it stores."""

    def __init__(self, *, fruit: str) -> None:
        super().__init__(f"no {fruit} today")


@shared_task
def noop(*args: Any, **kwargs: Any) -> None:
    pass


@shared_task
def add(x: int, y: int) -> int:
    return x + y


@shared_task
def echo(value: Any) -> Any:
    return value


@shared_task(typing=False)
def unchecked(x: int) -> int:
    return x


@shared_task(queue="mail", priority=5)
def send_mail(to: str, *, subject: str = "") -> str:
    return f"{to}: {subject}"


@shared_task(ignore_result=True)
def forgettable(value: Any = None) -> Any:
    return value


@shared_task
def fails(message: str = "a lemon") -> None:
    raise TooSour(message, 42)


@shared_task
def fails_stubbornly() -> None:
    raise Stubborn(fruit="lemon")


@shared_task
def fails_with_cause() -> None:
    try:
        int("lemon")
    except ValueError as error:
        raise TooSour("while counting") from error


@shared_task
def fails_at_length(characters: int) -> None:
    raise TooSour("x" * characters)


@shared_task
def returns_unencodable() -> Any:
    return object()


@shared_task
def returns_at_length(characters: int) -> str:
    return "x" * characters


@shared_task
def sleeps(seconds: float) -> float:
    time.sleep(seconds)
    return seconds


@shared_task
async def sleeps_async(seconds: float) -> float:
    await asyncio.sleep(seconds)
    return seconds


@shared_task
def marks(name: str) -> None:
    Mark.objects.create(name=name)


@shared_task
def marks_and_sleeps(name: str, seconds: float) -> None:
    """Says that it has begun, then takes its time."""
    Mark.objects.create(name=name)
    time.sleep(seconds)


@shared_task
def marks_then_fails(name: str) -> None:
    """The mark is rolled back with the transaction."""
    with transaction.atomic():
        Mark.objects.create(name=name)
        raise TooSour(name)


@shared_task
def leaves_transaction_broken() -> None:
    """Ends inside a transaction that it opened by hand."""
    transaction.set_autocommit(False)
    Mark.objects.create(name="never committed")


@shared_task
def enqueues(name: str) -> str:
    return marks.delay(name).id


@shared_task
def waits_for(task_id: str) -> Any:
    """What no task may do."""
    return noop.AsyncResult(task_id).get(timeout=1)


@shared_task(bind=True)
def describes_itself(self: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
    request = self.request
    return {
        "id": request.id,
        "name": self.name,
        "args": list(request.args),
        "kwargs": request.kwargs,
        "retries": request.retries,
        "called_directly": request.called_directly,
        "hostname": request.hostname,
        "delivery_info": request.delivery_info,
        "unknown": request.no_such_thing,
        "pid": os.getpid(),
    }


@shared_task(bind=True)
def fails_until(self: Any, name: str, attempt: int) -> int:
    """Kills its process on every attempt before this one."""
    Mark.objects.create(name=name)
    if Mark.objects.filter(name=name).count() < attempt:
        os.kill(os.getpid(), signal.SIGKILL)
    return attempt


@shared_task
def prints(text: str) -> None:
    print(text)
    print(text, file=sys.stderr)


@shared_task
def kills_its_process() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@shared_task
def exits(code: int = 3) -> None:
    os._exit(code)


@shared_task
def system_exit(code: int = 3) -> None:
    raise SystemExit(code)


@shared_task
def interrupts() -> None:
    raise KeyboardInterrupt


@shared_task
def recurses() -> None:
    recurses()
