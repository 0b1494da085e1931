"""Tables and JSON on standard output, for the subcommands."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from datetime import datetime, timedelta
from typing import Any

from django.core.management.base import BaseCommand
from django.utils.timezone import is_aware, localtime

CELL_MOST = 100


def write_json(command: BaseCommand, value: Any) -> None:
    """Print one JSON value and nothing else."""
    command.stdout.write(json.dumps(value, indent=2, default=str, ensure_ascii=False))


def write_table(command: BaseCommand, header: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Print rows in columns; a long text is cut."""
    lines = [tuple(header), *(tuple(map(cell, row)) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(header))]
    for number, line in enumerate(lines):
        text = "  ".join(value.ljust(width) for value, width in zip(line, widths, strict=True)).rstrip()
        command.stdout.write(command.style.MIGRATE_HEADING(text) if number == 0 else text)


def cell(value: Any) -> str:
    """Return a value as a cell shows it."""
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, datetime):
        return f"{localtime(value) if is_aware(value) else value:%Y-%m-%d %H:%M:%S}"
    if isinstance(value, timedelta):
        return f"{value.total_seconds():,.1f} s"
    if isinstance(value, int):
        return f"{value:,}"
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    text = " ".join(text.split())
    return text if len(text) <= CELL_MOST else f"{text[: CELL_MOST - 1]}…"


def write_tree(command: BaseCommand, value: Any, indent: int = 4) -> None:
    """Print a JSON value as indented lines."""
    pad = " " * indent
    if isinstance(value, dict):
        for key, inner in value.items():
            if isinstance(inner, dict | list) and inner and not _is_short(inner):
                command.stdout.write(f"{pad}{key}:")
                write_tree(command, inner, indent + 4)
            else:
                command.stdout.write(f"{pad}{key}: {_flat(inner)}")
    elif isinstance(value, list):
        for inner in value:
            command.stdout.write(f"{pad}* {_flat(inner)}")
    else:
        for line in str(value).splitlines():
            command.stdout.write(f"{pad}{line}")


def _is_short(value: Any) -> bool:
    return not isinstance(value, dict) and not any(isinstance(inner, dict | list) for inner in value)


def _flat(value: Any) -> str:
    if isinstance(value, list) and _is_short(value):
        return ", ".join(map(str, value)) or "-"
    if isinstance(value, dict):
        return "  ".join(f"{key}={_flat(inner)}" for key, inner in value.items() if inner is not None)
    return "-" if value is None else str(value)
