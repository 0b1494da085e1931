"""Tokens: a signed text that stands for a user, until it expires or the user's password changes.

Nothing is stored. A token holds an id of its own, the user's id and a digest of what ends sessions as well; so changing
the password, or making the user inactive, ends all tokens of that user. One alone is ended by its id in
``DJQUEUE["REVOKED_TOKENS"]``.
"""

from __future__ import annotations

import secrets
from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

from djqueue.conf import settings

SALT = "djqueue.api.tokens"
ID_BYTES = 8


class TokenRefused(Exception):
    """A token is not one of ours, has expired or been revoked, or its user may not come in."""


def make_token(user: Any, valid: timedelta, *, read_only: bool = False) -> str:
    """Return a token for ``user`` that is good for so long. With ``read_only`` it can change nothing."""
    if valid <= timedelta(0):
        raise ValueError(f"expected a token to be valid for longer than no time, got: {valid}")
    said = {
        "i": secrets.token_hex(ID_BYTES),
        "u": str(user.pk),
        "s": _stamp(user),
        "v": int(valid.total_seconds()),
        "r": int(read_only),
    }
    return signing.dumps(said, salt=SALT, compress=False)


def read_token(token: str) -> tuple[Any, bool]:
    """Return the user that a token stands for, and whether it may only read. Raises ``TokenRefused``."""
    try:
        said = signing.loads(token, salt=SALT)
        signing.loads(token, salt=SALT, max_age=said["v"])
        revoked = said["i"] in settings.REVOKED_TOKENS or token in settings.REVOKED_TOKENS
    except signing.SignatureExpired:
        raise TokenRefused("the token has expired") from None
    except (signing.BadSignature, KeyError, TypeError):
        raise TokenRefused("expected a token made by manage.py djqueue token") from None
    if revoked:
        raise TokenRefused("the token has been revoked")
    users: Any = get_user_model()._default_manager
    user = users.filter(pk=said["u"]).first()
    if user is None or not user.is_active or not constant_time_compare(said["s"], _stamp(user)):
        raise TokenRefused("the token's user is gone, or has another password now")
    return user, bool(said["r"])


def id_of(token: str) -> str:
    """Return the id of a token that this site has made, expired or not. Raises ``TokenRefused``."""
    try:
        return str(signing.loads(token, salt=SALT)["i"])
    except (signing.BadSignature, KeyError, TypeError):
        raise TokenRefused("expected a token made by manage.py djqueue token") from None


def _stamp(user: Any) -> str:
    return salted_hmac(SALT, user.get_session_auth_hash(), algorithm="sha256").hexdigest()[:24]
