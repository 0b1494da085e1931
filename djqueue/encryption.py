"""Encryption of payloads with Fernet: AES-128-CBC and an HMAC, by the ``cryptography`` package."""

from __future__ import annotations

import os
from base64 import urlsafe_b64decode, urlsafe_b64encode
from functools import cached_property
from typing import Any

from .conf import settings
from .exceptions import ImproperlyConfigured

ENVIRONMENT_VARIABLE = "DJQUEUE_PAYLOAD_KEYS"


class FernetCodec:
    """Encrypts with the first of the site's keys and decrypts with any of them, so that keys can be rotated.

    The keys are ``DJQUEUE["PAYLOAD_KEYS"]`` or, if that is empty, those in the environment variable
    ``DJQUEUE_PAYLOAD_KEYS``, separated by commas. ``Fernet.generate_key()`` makes one. Raises
    ``ImproperlyConfigured`` without a key, for a bad one, and without the package.
    """

    def __init__(self) -> None:
        self._fernet.encrypt(b"")  # a bad key is to be found out now

    def encode(self, data: bytes) -> bytes:
        # A token is base64, and the column's text will be once more: together three quarters longer.
        return urlsafe_b64decode(self._fernet.encrypt(data))

    def decode(self, data: bytes) -> bytes:
        plain: bytes = self._fernet.decrypt(urlsafe_b64encode(data))
        return plain

    @cached_property
    def _fernet(self) -> Any:
        try:
            from cryptography.fernet import Fernet, MultiFernet
        except ImportError as error:
            raise ImproperlyConfigured(
                f"FernetCodec needs a package that is not installed ({error}): pip install 'django-djqueue[encryption]'"
            ) from error
        keys = payload_keys()
        try:
            return MultiFernet([Fernet(key) for key in keys])
        except ValueError:
            # Without the key itself, and without what the library says of it.
            raise ImproperlyConfigured(
                "expected each key in DJQUEUE['PAYLOAD_KEYS'] to be 32 bytes as url-safe base64, as made by "
                f"cryptography.fernet.Fernet.generate_key(), got {len(keys)} of which one is not"
            ) from None


def payload_keys() -> tuple[str, ...]:
    """Return the site's keys, the one that encrypts first. Raises ``ImproperlyConfigured`` if there is none."""
    given = settings.PAYLOAD_KEYS or os.environ.get(ENVIRONMENT_VARIABLE, "").split(",")
    keys = tuple(key.strip() for key in given if key.strip())
    if not keys:
        raise ImproperlyConfigured(
            f"FernetCodec has no key: set DJQUEUE['PAYLOAD_KEYS'] or the environment variable {ENVIRONMENT_VARIABLE}"
        )
    return keys
