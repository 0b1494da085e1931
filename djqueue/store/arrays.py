"""Array literals: psycopg would adapt lists element by element, at a tenth of a small exchange's time."""

from __future__ import annotations

from collections.abc import Iterable


def array_literal(elements: Iterable[str]) -> str:
    """Return a PostgreSQL array literal of elements that need no quoting (ids, numbers, NULL) or are ``quoted``."""
    return "{" + ",".join(elements) + "}"


def quoted(text: str) -> str:
    """Return any text as an element of an array literal."""
    return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
