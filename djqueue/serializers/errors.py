"""Exceptions as data: their class, arguments and traceback as JSON text, and back."""

from __future__ import annotations

import sys
import traceback
from typing import Any

from djqueue.exceptions import SecurityError

from .values import decode, encode
from .wrappers import seal, unseal

TRACEBACK_MAX_CHARACTERS = 64 * 1024
MESSAGE_MAX_CHARACTERS = 16 * 1024
HIDDEN = "[encrypted]"


def encode_error(error: BaseException, *, with_traceback: bool = True) -> str:
    """Return an exception as JSON text: ``exc_type``, ``exc_message`` (arguments), ``exc_module``, ``traceback``.

    ``exc_text`` is what an exception without arguments says nevertheless. On a site with encryption all that may hold
    data is in ``sealed``, and ``"[encrypted]"`` stands in its place. Never raises.
    """
    kind = type(error)
    names = {"exc_type": _clean(kind.__qualname__), "exc_module": _clean(str(kind.__module__))}
    contents: dict[str, Any] = {"exc_message": _storable_arguments(error)}
    if not contents["exc_message"] and (text := _text(error)):
        contents["exc_text"] = text
    contents["traceback"] = format_traceback(error) if with_traceback else None
    try:
        sealed = seal(encode(contents))
    except Exception as problem:
        # Better no contents than contents in the open.
        lost = f"[could not be encrypted: {type(problem).__name__}]"
        return encode({**names, "exc_message": [lost], "traceback": lost})
    if sealed is None:
        return encode({**names, **contents})
    return encode({**names, "exc_message": [HIDDEN], "traceback": HIDDEN, "sealed": sealed})


def decode_error(text: str, *, follow_parents: bool = False) -> BaseException:
    """Rebuild an exception from its JSON text, or with ``follow_parents`` the one that caused it in another task.

    Only classes of modules that are imported already are used; for an unknown one a class of its name is made. Raises
    ``SecurityError`` if the name belongs to something that is not an exception, and ``DecodeError`` if it is encrypted
    and cannot be decrypted.
    """
    stored = _opened(text, follow_parents=follow_parents)
    kind = _exception_class(stored.get("exc_module"), stored["exc_type"])
    message = stored.get("exc_message")
    arguments = message if isinstance(message, list) else [message]
    try:
        error = kind(*arguments)
    except Exception:
        said = arguments or [stored[key] for key in ("exc_text",) if key in stored]
        return Exception(f"{kind}({tuple(said)!r})")
    if not isinstance(error, Exception):
        # SystemExit and the like would end the process that only asked for a result.
        return Exception(f"the task raised {error!r}")
    return error


def stored_traceback(text: str) -> str | None:
    """Return the traceback of an exception from its JSON text. Raises ``DecodeError`` as ``decode_error`` does."""
    traceback: str | None = _opened(text).get("traceback")
    return traceback


def _opened(text: str, *, follow_parents: bool = False) -> dict[str, Any]:
    stored: dict[str, Any] = decode(text)
    if follow_parents and stored.get("cause"):
        stored = stored["cause"]
    if isinstance(sealed := stored.get("sealed"), dict):
        stored.update(unseal(sealed))
    return stored


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
    # Not error.args: a class may have put anything in its place.
    arguments = BaseException.args.__get__(error)  # type: ignore[attr-defined]
    for place, argument in enumerate(arguments):
        if size > MESSAGE_MAX_CHARACTERS * 4:
            stored.append(f"[… {len(arguments) - place:,} arguments left out …]")
            break
        stored.append(_storable(argument))
        size += len(encode(stored[-1]))
    return stored


def _text(error: BaseException) -> str:
    try:
        return _clean(_cut(str(error), MESSAGE_MAX_CHARACTERS))
    except Exception:
        return ""


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
