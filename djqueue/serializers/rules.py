"""What the settings say about payloads: which serializers are used and accepted, and the codec."""

from __future__ import annotations

from functools import cache
from typing import NamedTuple, Protocol

from django.core.signals import setting_changed
from django.dispatch import receiver
from django.utils.module_loading import import_string

from djqueue.conf import settings
from djqueue.exceptions import ImproperlyConfigured, SecurityError

from .formats import serializer_named


class Codec(Protocol):
    """What ``DJQUEUE["PAYLOAD_CODEC"]`` names: it makes bytes of bytes, and reads what it made."""

    def encode(self, data: bytes, /) -> bytes: ...

    def decode(self, data: bytes, /) -> bytes: ...


class Rules(NamedTuple):
    """The settings about payloads."""

    serializer: str
    result_serializer: str
    accepted: frozenset[str]
    codec: Codec | None


@cache
def rules() -> Rules:
    """Return the rules, read once: every call that enqueues a task asks for them."""
    codec = _codec(settings.PAYLOAD_CODEC) if settings.PAYLOAD_CODEC else None
    return Rules(settings.SERIALIZER, settings.RESULT_SERIALIZER, frozenset(settings.ACCEPT_CONTENT), codec)


@receiver(setting_changed)
def _forget(*, setting: str, **kwargs: object) -> None:
    if setting == "DJQUEUE":
        rules.cache_clear()


def _codec(path: str) -> Codec:
    try:
        codec = import_string(path)()
    except ImportError as error:
        raise ImproperlyConfigured(f"DJQUEUE['PAYLOAD_CODEC'] cannot be used: {error}") from error
    if not callable(getattr(codec, "encode", None)) or not callable(getattr(codec, "decode", None)):
        raise ImproperlyConfigured(
            f"expected DJQUEUE['PAYLOAD_CODEC'] to name a class with the methods encode and decode, got: {path!r}"
        )
    made: Codec = codec
    return made


def check_serializer(name: str) -> None:
    """Raise ``ValueError`` for an unknown serializer, ``ImproperlyConfigured`` for one that the site refuses."""
    if name not in rules().accepted:
        serializer_named(name)
        raise ImproperlyConfigured(
            f"expected the serializer to be one that the site accepts, got: {name!r}. "
            f"Workers would refuse it: add it to DJQUEUE['ACCEPT_CONTENT'], which is {sorted(rules().accepted)}."
        )


def check_accepted(name: object) -> None:
    """Raise ``SecurityError`` for a stored payload whose serializer the site does not accept."""
    if not isinstance(name, str) or name not in rules().accepted:
        raise SecurityError(
            f"refused to read a payload of serializer {name!r}: DJQUEUE['ACCEPT_CONTENT'] is {sorted(rules().accepted)}"
        )
