"""Names on the command line, separated by commas."""

from __future__ import annotations

from django.core.management import CommandError


def names_of(option: str, given: str | None) -> list[str]:
    """Return the names that an option holds; none if it was not given, which means all.

    Raises ``CommandError`` for an option without a name, such as that of a variable that is not set: to take it for all
    would stop every worker, or drop every task.
    """
    if given is None:
        return []
    names = [name.strip() for name in given.split(",") if name.strip()]
    if not names:
        raise CommandError(f"expected {option} to hold names, separated by commas, got: {given!r}")
    return names
