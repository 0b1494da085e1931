"""Checks of what a schedule says, beside its timing: alike for what is declared in code and for rows."""

from __future__ import annotations

from datetime import datetime, timedelta
from zoneinfo import ZoneInfo

from djqueue.calls import LONGEST_COUNTDOWN

LONGEST_NAME = 500
LAST_YEAR = 9000
LONGEST_SPAN = timedelta(seconds=LONGEST_COUNTDOWN)


def check_zone(name: object) -> str:
    """Return the name of a time zone, "" for that of the site. Raises ``ValueError``."""
    if name == "":
        return ""
    try:
        ZoneInfo(name)  # type: ignore[arg-type]
    except (ValueError, TypeError, OSError, LookupError):
        raise ValueError(f"expected a time zone such as Europe/Berlin, got: {name!r}") from None
    return str(name)


def check_text(value: object) -> str:
    """Return a text that PostgreSQL can hold. Raises ``TypeError`` or ``ValueError``."""
    if not isinstance(value, str):
        raise TypeError(f"expected a string, got: {value!r}")
    if not value.isprintable() and ("\0" in value or any("\ud800" <= sign <= "\udfff" for sign in value)):
        raise ValueError(f"expected a text without NUL and lone surrogates, got: {value!r}")
    return value


def check_name(name: object) -> str:
    """Return a text that is short enough for an index. Raises ``TypeError`` or ``ValueError``."""
    text = check_text(name)
    if len(text) > LONGEST_NAME:
        raise ValueError(f"expected a name of at most {LONGEST_NAME} characters, got: {text[:60]!r}… of {len(text)}")
    return text


def check_moment(moment: datetime | None) -> None:
    """Raise ``ValueError`` for a moment so late that calendars end before the slot after it."""
    if moment is not None and moment.year > LAST_YEAR:
        raise ValueError(f"expected a moment up to the year {LAST_YEAR}, got: {moment.isoformat()}")


def check_span(span: timedelta) -> timedelta:
    """Return a length of time from 0 to a hundred years. Raises ``ValueError``."""
    if not timedelta(0) <= span <= LONGEST_SPAN:
        raise ValueError(f"expected 0 seconds or more, at most a hundred years, got: {span}")
    return span
