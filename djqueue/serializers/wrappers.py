"""Wrappers: what a column of JSON holds of a payload that is not plain JSON.

Another serializer's bytes, and all that is encrypted, are stored as::

    {"__serializer__": "msgpack", "body": "<base64>"}
    {"__serializer__": "json", "encrypted": true, "body": "<base64>"}
"""

from __future__ import annotations

import base64
import json
from typing import Any

from djqueue.exceptions import DecodeError, EncodeError, ImproperlyConfigured

from .formats import serializer_named
from .rules import Codec, check_accepted, rules

WRAPPER = '"__serializer__"'
QUOTED_CHARACTERS = 200
_WRAPPER_KEYS = ({"__serializer__", "body"}, {"__serializer__", "body", "encrypted"})


def describe_wrapper(stored: object) -> str | None:
    """Return what to show instead of a wrapper; None if it is none."""
    if not isinstance(stored, dict) or not is_wrapper(stored):
        return None
    if stored.get("encrypted"):
        return "[encrypted]"
    return f"[{len(str(stored['body'])) * 3 // 4:,} bytes of {stored['__serializer__']}]"


def is_wrapper(stored: object) -> bool:
    return isinstance(stored, dict) and stored.keys() in _WRAPPER_KEYS


def wrap(value: Any, serializer: str) -> str:
    """Return a wrapper, as JSON text, that holds ``value``. Raises ``EncodeError``."""
    return wrap_bytes(dump(value, serializer), serializer, rules().codec)


def dump(value: Any, serializer: str) -> bytes:
    """Return what a serializer makes of ``value``. Raises ``EncodeError`` where it refuses."""
    try:
        body = serializer_named(serializer).dumps(value)
        return body.encode() if isinstance(body, str) else bytes(body)
    except (EncodeError, ImproperlyConfigured):
        raise
    except Exception as error:
        # Each serializer has errors of its own.
        raise EncodeError(f"{serializer} refuses it with {type(error).__name__}: {error}") from error


def wrap_bytes(body: bytes, serializer: str, codec: Codec | None) -> str:
    encrypted = ""
    if codec is not None:
        encrypted = '"encrypted":true,'
        try:
            body = codec.encode(body)
        except ImproperlyConfigured:
            raise
        except Exception as error:
            raise EncodeError(f"it could not be encrypted: {type(error).__name__}") from error
    return f'{{{WRAPPER}:"{serializer}",{encrypted}"body":"{base64.b64encode(body).decode()}"}}'


def unwrap(stored: dict[str, Any]) -> Any:
    """Return what a wrapper holds.

    Raises ``SecurityError``, before anything is read, if the serializer is not accepted, else ``DecodeError``.
    """
    check_accepted(stored["__serializer__"])
    return _opened(stored)


def seal(text: str) -> dict[str, Any] | None:
    """Return JSON text as an encrypted wrapper; None on a site without encryption."""
    codec = rules().codec
    if codec is None:
        return None
    sealed: dict[str, Any] = json.loads(wrap_bytes(text.encode(), "json", codec))
    return sealed


def unseal(sealed: dict[str, Any]) -> Any:
    """Return the value that ``seal`` hid. What is sealed is JSON, whatever the site accepts as payloads."""
    return _opened({**sealed, "__serializer__": "json"})


def _opened(stored: dict[str, Any]) -> Any:
    name, body = stored["__serializer__"], stored["body"]
    try:
        data = base64.b64decode(body, validate=True)
    except (TypeError, ValueError) as error:
        raise DecodeError(f"expected the body of a payload to be base64, got: {type(body).__name__}") from error
    encrypted = bool(stored.get("encrypted"))
    if encrypted:
        data = _decrypted(data)
    try:
        return serializer_named(name).loads(data)
    except ImproperlyConfigured:
        raise
    except Exception as error:
        # A parser's error may quote what it could not read, which nobody is to see if it was encrypted.
        said = "" if encrypted else f": {str(error)[:QUOTED_CHARACTERS]}"
        raise DecodeError(f"the payload is not readable as {name} ({type(error).__name__}{said})") from None


def _decrypted(data: bytes) -> bytes:
    codec = rules().codec
    if codec is None:
        raise DecodeError("the payload is encrypted, and DJQUEUE['PAYLOAD_CODEC'] is not set in this process")
    try:
        return codec.decode(data)
    except ImproperlyConfigured:
        raise
    except Exception as error:
        raise DecodeError(
            f"the payload could not be decrypted ({type(error).__name__}): is the key it was made with still listed?"
        ) from error
