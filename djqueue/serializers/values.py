"""Values as JSON text and back: Celery's extra types in envelopes.

An envelope is ``{"__type__": "datetime", "__value__": "2026-01-31T12:00:00+00:00"}``. Tuples become lists and
integer keys strings, as in every JSON.
"""

from __future__ import annotations

import base64
import json
import re
import uuid
from collections.abc import Callable
from dataclasses import is_dataclass
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from enum import Enum
from typing import Any

from django.db.models import Model, QuerySet

from djqueue.exceptions import EncodeError

# The most derived class first: a datetime is a date.
_WRITERS: tuple[tuple[type, str, Callable[[Any], Any]], ...] = (
    (datetime, "datetime", datetime.isoformat),
    (date, "date", date.isoformat),
    (time, "time", time.isoformat),
    (timedelta, "timedelta", lambda value: value // timedelta(microseconds=1)),
    (Decimal, "decimal", str),
    (uuid.UUID, "uuid", str),
    (bytes, "bytes", lambda value: base64.b64encode(value).decode()),
    (bytearray, "bytes", lambda value: base64.b64encode(value).decode()),
    (memoryview, "bytes", lambda value: base64.b64encode(value).decode()),
)
_READERS: dict[str, Callable[[Any], Any]] = {
    "datetime": datetime.fromisoformat,
    "date": date.fromisoformat,
    "time": time.fromisoformat,
    "timedelta": lambda microseconds: timedelta(microseconds=microseconds),
    "decimal": Decimal,
    "uuid": uuid.UUID,
    "bytes": base64.b64decode,
}
# U+0000 as the encoder writes it, behind an even number of backslashes: jsonb cannot hold it.
_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")
# A float such as 1e+16, or a string to be passed over: jsonb would give the float back as an integer.
_EXPONENT = re.compile(r'"(?:[^"\\]|\\.)*"|(-?\d+(?:\.\d+)?e\+\d+)')


def _without_exponent(match: re.Match[str]) -> str:
    number = match[1]
    return f"{Decimal(number):f}.0" if number else match[0]


def envelope_of(value: Any) -> Any:
    """Return what JSON holds instead of ``value``. Raises ``TypeError``, with a hint, if there is nothing."""
    for kind, name, write in _WRITERS:
        if isinstance(value, kind):
            return {"__type__": name, "__value__": write(value)}
    if callable(own := getattr(value, "__json__", None)):
        return own()
    if callable(as_tuple := getattr(value, "as_tuple", None)):
        return as_tuple()
    if type(value).__name__ == "__proxy__":  # a lazy translation
        return str(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not JSON serializable{hint(value)}")


def hint(value: object) -> str:
    """Return what to do about a value that cannot be stored, or nothing."""
    match value:
        case Model():
            return f". Pass its primary key ({value.pk!r}) and fetch the row in the task, which then sees it as it is"
        case QuerySet():
            return ". Pass a list of primary keys and fetch the rows in the task"
        case set() | frozenset() | Enum():
            return f". Annotate the parameter as {type(value).__name__}, and it is converted there and back"
    if is_dataclass(value) or hasattr(value, "model_dump"):
        return f". Annotate the parameter as {type(value).__name__}, and it is converted there and back"
    return ""


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=envelope_of).encode


def encode(value: Any) -> str:
    """Return ``value`` as JSON text that a jsonb column accepts.

    Raises ``EncodeError`` for what JSON or PostgreSQL cannot hold: unknown types, NaN and infinities, U+0000, lone
    surrogates, cycles.
    """
    try:
        text = _encode(value)
        if not text.isascii():
            text.encode()
    except (TypeError, ValueError, RecursionError, OverflowError) as error:
        raise EncodeError(_reason(error)) from error
    if "e+" in text:
        text = _EXPONENT.sub(_without_exponent, text)
    if "\\u0000" in text and _NUL.search(text):
        raise EncodeError("PostgreSQL cannot store the character U+0000 in text")
    return text


def decode(text: str) -> Any:
    """Return the value of JSON text. Raises ``ValueError`` if it is not JSON or an envelope is broken."""
    if '"__type__"' in text:
        return json.loads(text, object_hook=open_envelope)
    return json.loads(text)


def open_envelope(value: dict[str, Any]) -> Any:
    """Return the value that an envelope stands for; another dict as it is."""
    kind = value.get("__type__")
    if len(value) != 2 or "__value__" not in value or not isinstance(kind, str) or kind not in _READERS:
        return value
    try:
        return _READERS[kind](value["__value__"])
    except (TypeError, ValueError, ArithmeticError, AttributeError) as error:
        raise ValueError(f"expected the stored {kind} to be readable, got: {value['__value__']!r}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, UnicodeEncodeError):
        return f"it holds the lone surrogate {error.object[error.start]!r}, which is no valid text"
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if "Out of range float" in str(error):
        return "JSON has no NaN or infinity"
    return str(error)
