"""Converters of the keys of dicts, which JSON stores as text."""

from __future__ import annotations

from collections.abc import Callable
from datetime import date, datetime
from decimal import Decimal
from enum import Enum
from typing import Any
from uuid import UUID

from .converter import Mismatch


class KeyConverter:
    """Writes keys as text that JSON can hold, and reads them."""

    def __init__(self, kind: type, write: Callable[[Any], Any], read: Callable[[Any], Any]) -> None:
        self.expected = f"{kind.__name__} as a key"
        self._kind, self._write, self._read = kind, write, read

    def encode(self, key: Any) -> Any:
        return self._write(self.decode(key))

    def decode(self, key: Any) -> Any:
        if isinstance(key, self._kind):
            return key
        try:
            return self._read(key)
        except (ValueError, ArithmeticError, TypeError, AttributeError) as error:
            raise Mismatch(self.expected, key) from error


def key_converter_for(kind: Any) -> KeyConverter | None:
    """Return the converter of keys of that type, or None if they come back by themselves."""
    if kind is int:
        return _WholeNumbers(int, int, int)
    if kind in (UUID, Decimal):
        return KeyConverter(kind, str, kind)
    if kind in (date, datetime):
        return KeyConverter(kind, kind.isoformat, kind.fromisoformat)
    if isinstance(kind, type) and issubclass(kind, Enum):
        # The text that a member's value becomes as a key.
        members = {str(member.value): member for member in kind}
        return KeyConverter(kind, lambda member: member.value, lambda key: _member(kind, members, key))
    return None


def _member(kind: type[Enum], members: dict[str, Enum], key: Any) -> Enum:
    return members[key] if key in members else kind(key)


class _WholeNumbers(KeyConverter):
    """As ``int`` elsewhere, it refuses nothing."""

    def encode(self, key: Any) -> Any:
        return key

    def decode(self, key: Any) -> Any:
        try:
            return int(key) if isinstance(key, str) and str(int(key)) == key else key
        except ValueError:
            return key
