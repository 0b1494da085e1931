"""Tasks that see what payloads come back as, and what a site may bring of its own."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from djqueue import shared_task


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


class XorCodec:
    """A codec of a site's own. Not to be taken for encryption."""

    def encode(self, data: bytes) -> bytes:
        return bytes(byte ^ 0x55 for byte in data)

    decode = encode


class NoCodec:
    """Lacks what a codec has."""


class BrokenCodec(XorCodec):
    def encode(self, data: bytes) -> bytes:
        raise RuntimeError("no key today: hush")


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


@shared_task
def fails_with(password: str) -> None:
    raise ValueError("wrong password", password)
