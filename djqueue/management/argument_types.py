"""Types of arguments, as ``argparse`` wants them."""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import TypeVar

Value = TypeVar("Value")


def read_by(read: Callable[[str], Value]) -> Callable[[str], Value]:
    """Return a type of arguments from a function that raises ``ValueError`` with what it expected."""

    def typed(text: str) -> Value:
        try:
            return read(text)
        except ValueError as error:
            raise argparse.ArgumentTypeError(f"expected {error}, got: {text!r}") from None

    return typed
