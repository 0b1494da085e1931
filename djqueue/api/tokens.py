"""Tokens: a signed text that stands for a user, until it expires or the user's password changes.

Nothing is stored. A token holds the user's id and a digest of what ends sessions as well; so changing the password, or
making the user inactive, ends all tokens of that user. Give each machine a user of its own.
"""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from django.contrib.auth import get_user_model
from django.core import signing
from django.utils.crypto import constant_time_compare, salted_hmac

SALT = "djqueue.api.tokens"


class TokenRefused(Exception):
    """A token is not one of ours, has expired, or its user may not come in."""


def make_token(user: Any, valid: timedelta, *, read_only: bool = False) -> str:
    """Return a token for ``user`` that is good for so long. With ``read_only`` it can change nothing."""
    if valid <= timedelta(0):
        raise ValueError(f"expected a token to be valid for longer than no time, got: {valid}")
    said = {"u": str(user.pk), "s": _stamp(user), "v": int(valid.total_seconds()), "r": int(read_only)}
    return signing.dumps(said, salt=SALT, compress=False)


def read_token(token: str) -> tuple[Any, bool]:
    """Return the user that a token stands for, and whether it may only read. Raises ``TokenRefused``."""
    try:
        said = signing.loads(token, salt=SALT)
        signing.loads(token, salt=SALT, max_age=said["v"])
    except signing.SignatureExpired:
        raise TokenRefused("the token has expired") from None
    except (signing.BadSignature, KeyError, TypeError):
        raise TokenRefused("expected a token made by manage.py djqueue token") from None
    users: Any = get_user_model()._default_manager
    user = users.filter(pk=said["u"]).first()
    if user is None or not user.is_active or not constant_time_compare(said["s"], _stamp(user)):
        raise TokenRefused("the token's user is gone, or has another password now")
    return user, bool(said["r"])


def _stamp(user: Any) -> str:
    return salted_hmac(SALT, user.get_session_auth_hash(), algorithm="sha256").hexdigest()[:24]
