"""What every converter is, and the error it raises."""

from __future__ import annotations

from typing import Any, Protocol


class Mismatch(Exception):
    """A value is not of its annotated type; ``path`` leads to it from the argument."""

    def __init__(self, expected: str, got: object) -> None:
        super().__init__(expected)
        self.expected = expected
        self.got = got
        self.path: list[object] = []


class Converter(Protocol):
    """Both ways take a value of the type, and one in its stored form; they raise ``Mismatch`` for any other."""

    expected: str
    """The type, as messages call it."""
    text_only: bool
    """Whether only text is converted, so that plain text of another member of a union must come first."""

    def owns(self, value: Any) -> bool:
        """Whether ``value`` is of the type, rather than something in its stored form."""

    def encode(self, value: Any) -> Any: ...

    def decode(self, value: Any) -> Any: ...


def encode_inner(converter: Converter | None, value: Any, place: object) -> Any:
    """Encode what stands at ``place`` of a value."""
    if converter is None:
        return value
    try:
        return converter.encode(value)
    except Mismatch as mismatch:
        mismatch.path.insert(0, place)
        raise


def decode_inner(converter: Converter | None, value: Any, place: object) -> Any:
    """Decode what stands at ``place`` of a value."""
    if converter is None:
        return value
    try:
        return converter.decode(value)
    except Mismatch as mismatch:
        mismatch.path.insert(0, place)
        raise
