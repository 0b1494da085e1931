"""Values as JSON text and back: Celery's extra types in envelopes, and exceptions as data.

An envelope is ``{"__type__": "datetime", "__value__": "2026-01-31T12:00:00+00:00"}``. Tuples become lists and
integer keys strings, as in every JSON.
"""

from __future__ import annotations

import base64
import json
import re
import sys
import traceback
import uuid
from collections.abc import Callable, Mapping, Sequence
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

from .exceptions import EncodeError, SecurityError

TRACEBACK_MAX_CHARACTERS = 64 * 1024
MESSAGE_MAX_CHARACTERS = 16 * 1024

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


def _envelope(value: Any) -> Any:
    for kind, name, write in _WRITERS:
        if isinstance(value, kind):
            return {"__type__": name, "__value__": write(value)}
    if callable(own := getattr(value, "__json__", None)):
        return own()
    if callable(as_tuple := getattr(value, "as_tuple", None)):
        return as_tuple()
    if type(value).__name__ == "__proxy__":  # a lazy translation
        return str(value)
    raise TypeError(f"{type(value).__module__}.{type(value).__qualname__} is not JSON serializable")


_encode = json.JSONEncoder(ensure_ascii=False, allow_nan=False, separators=(",", ":"), default=_envelope).encode


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


def encode_arguments(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> tuple[str, str]:
    """Return arguments as two JSON texts. Raises ``EncodeError`` naming the argument that cannot be stored."""
    try:
        return encode(args), encode(kwargs) if kwargs else "{}"
    except EncodeError as error:
        named = [(f"{place}", value) for place, value in enumerate(args)]
        named += [(repr(key), value) for key, value in kwargs.items()]
        for label, value in named:
            try:
                encode(value)
            except EncodeError as culprit:
                raise EncodeError(f"argument {label} of task {name} cannot be stored: {culprit}") from culprit
        raise EncodeError(f"the arguments of task {name} cannot be stored: {error}") from error


def decode(text: str) -> Any:
    """Return the value of JSON text. Raises ``ValueError`` if it is not JSON or an envelope is broken."""
    if '"__type__"' in text:
        return json.loads(text, object_hook=_open_envelope)
    return json.loads(text)


def _open_envelope(value: dict[str, Any]) -> Any:
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


def encode_error(error: BaseException, *, with_traceback: bool = True) -> str:
    """Return an exception as JSON text: ``exc_type``, ``exc_message`` (arguments), ``exc_module``, ``traceback``."""
    kind = type(error)
    return encode(
        {
            "exc_type": kind.__qualname__,
            "exc_message": _storable_arguments(error),
            "exc_module": kind.__module__,
            "traceback": format_traceback(error) if with_traceback else None,
        }
    )


def decode_error(text: str, *, follow_parents: bool = False) -> BaseException:
    """Rebuild an exception from its JSON text, or with ``follow_parents`` the one that caused it in another task.

    Only classes of modules that are imported already are used; for an unknown one a class of its name is made. Raises
    ``SecurityError`` if the name belongs to something that is not an exception.
    """
    stored = decode(text)
    if follow_parents and stored.get("cause"):
        stored = stored["cause"]
    kind = _exception_class(stored.get("exc_module"), stored["exc_type"])
    message = stored.get("exc_message")
    arguments = message if isinstance(message, list) else [message]
    try:
        error = kind(*arguments)
    except Exception:
        return Exception(f"{kind}({tuple(arguments)!r})")
    if not isinstance(error, Exception):
        # SystemExit and the like would end the process that only asked for a result.
        return Exception(f"the task raised {error!r}")
    return error


def format_traceback(error: BaseException) -> str:
    """Return the traceback as text, with its middle cut out where it is very long."""
    try:
        text = "".join(traceback.format_exception(error))
    except Exception as problem:
        text = f"{type(error).__qualname__} (its traceback cannot be shown: {type(problem).__name__})\n"
    return _clean(_cut(text, TRACEBACK_MAX_CHARACTERS))


def _storable_arguments(error: BaseException) -> list[Any]:
    stored: list[Any] = []
    size = 0
    for place, argument in enumerate(error.args):
        if size > MESSAGE_MAX_CHARACTERS * 4:
            stored.append(f"[… {len(error.args) - place:,} arguments left out …]")
            break
        stored.append(_storable(argument))
        size += len(encode(stored[-1]))
    return stored


def _storable(value: Any) -> Any:
    """Return an exception's argument, or its ``repr`` where JSON cannot hold it."""
    try:
        text = encode(value)
    except Exception:
        try:
            value = repr(value)
        except Exception as problem:
            value = f"<{type(value).__qualname__}, whose repr raises {type(problem).__qualname__}>"
        return _clean(_cut(value, MESSAGE_MAX_CHARACTERS))
    if len(text) > MESSAGE_MAX_CHARACTERS:
        return _cut(value if isinstance(value, str) else text, MESSAGE_MAX_CHARACTERS)
    return value


def _cut(text: str, limit: int) -> str:
    if len(text) <= limit:
        return text
    half = limit // 2
    return f"{text[:half]}\n[… {len(text) - limit:,} characters left out …]\n{text[-half:]}"


def _clean(text: str) -> str:
    return text.replace("\x00", "\\x00").encode(errors="backslashreplace").decode()


def _exception_class(module: str | None, name: str) -> type[BaseException]:
    found: Any = sys.modules.get(module) if module else None
    for part in name.split("."):
        found = getattr(found, part, None)
    if found is None:
        return type(name.rpartition(".")[2], (Exception,), {"__module__": module or __name__})
    if not (isinstance(found, type) and issubclass(found, BaseException)):
        raise SecurityError(f"expected a stored error to name an exception class, got: {module}.{name}")
    return found
