"""Tasks that see what payloads come back as, and what a site may bring of its own."""

from __future__ import annotations

import base64
import json
import pickle
from collections.abc import Mapping, Sequence
from pathlib import Path
from time import monotonic, sleep
from typing import Any

from djqueue import AsyncResult, shared_task
from djqueue.models import RunningTask


class Mine:
    """What only pickle can store."""

    def __init__(self, number: int) -> None:
        self.number = number


class Touch:
    """Creates a file when it is unpickled, as an attacker's payload would do worse."""

    def __init__(self, path: str) -> None:
        self.path = path

    def __reduce__(self) -> Any:
        return Path.touch, (Path(self.path),)


class NeedsTwo(Exception):
    """Cannot be made again from what it keeps."""

    def __init__(self, first: str, second: str) -> None:
        super().__init__(first)


class Rude:
    def __repr__(self) -> str:
        raise RuntimeError("no words")


class Unpicklable(Exception):
    def __reduce__(self) -> Any:
        raise pickle.PicklingError("never")


class XorCodec:
    """A codec of a site's own. Not to be taken for encryption."""

    def encode(self, data: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in data)

    decode = encode


class NoCodec:
    """Lacks what a codec has."""


class BrokenCodec(XorCodec):
    def encode(self, data: bytes) -> bytes:
        raise RuntimeError("no key today: lullaby")


def hide_everything(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[list[Any], dict[str, Any]]:
    return [f"{len(args)} of {name}"], dict.fromkeys(kwargs, "…")


def hide_nothing_well(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> Any:
    raise RuntimeError(str(args))


not_a_function = 5


@shared_task
def types_of(*args: Any, **kwargs: Any) -> list[str]:
    return [type(value).__name__ for value in (*args, *kwargs.values())]


@shared_task
def returns(value: Any) -> Any:
    return value


@shared_task
def returns_mine() -> Mine:
    return Mine(5)


@shared_task
def returns_bytes(number: int) -> bytes:
    return bytes(number)


@shared_task
def number_of(mine: Mine) -> int:
    return mine.number


@shared_task
def logs_in(user: str, password: str, *more: str, api_key: str = "", details: Any = None) -> dict[str, str]:
    return {"user": user, "session_token": base64.b64encode(password.encode()).decode()}


@shared_task(serializer="pickle")
def doubled(mine: Any) -> int:
    return int(mine.number) * 2


@shared_task(bind=True, max_retries=5, default_retry_delay=0)
def gathers(self: Any, items: list[Any], times: int = 1, *, serializer: str | None = None) -> list[Any]:
    """Each attempt adds an item, and every second one changes only that."""
    if len(items) >= 4:
        return [*items, times]
    changed = {"kwargs": {"times": times * 2, "serializer": serializer}} if len(items) % 2 else {}
    raise self.retry(args=([*items, items[0]],), serializer=serializer, countdown=0, **changed)


@shared_task(bind=True, max_retries=0)
def gives_up(self: Any, user: str, password: str) -> None:
    self.retry()


@shared_task
def fails_oddly(how: str) -> None:
    match how:
        case "constructor":
            raise NeedsTwo("first", "second")
        case "repr":
            raise ValueError(Rude(), "kept")
        case "pickle":
            raise Unpicklable("never", "pickled")
        case "length":
            raise ValueError("x" * 50_000_000)
        case "arguments":
            raise ValueError(*range(100_000))
        case "text":
            raise ValueError("\x00 \ud83d")


@shared_task(bind=True)
def shows(self: Any, meta: Any) -> Any:
    """Return its progress as others see it, and as it is stored."""
    self.update_state(state="PROGRESS", meta=meta)
    lease = RunningTask.objects.filter(task_id=self.request.id)
    deadline = monotonic() + 20
    while (stored := lease.get().meta) is None and monotonic() < deadline:
        sleep(0.005)
    return [AsyncResult(self.request.id).info, json.dumps(stored)]


@shared_task(bind=True)
def shows_request(self: Any, user: str, password: str, *, api_key: str) -> str:
    return repr(self.request)


@shared_task
def fails_with(password: str) -> None:
    raise ValueError("wrong password", password)
