"""``manage.py djqueue pause`` and ``resume``: let nobody start tasks for a while."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from djqueue.control.pausing import FOREVER, pause
from djqueue.management.tables import cell, write_json

HELP = "let nobody start tasks of a queue, of a name or with a key"

DESCRIPTION = """\
Pauses a queue, a task by its name, or a key. What runs goes on, what comes
waits. Workers know within a second. Without an end it is until `resume`.
"""
EXAMPLES = """\
examples:
  manage.py djqueue pause queue mail
  manage.py djqueue pause task shop.tasks.report --seconds 600
  manage.py djqueue pause key customer:7 --until 2026-01-31T06:00
  manage.py djqueue list pauses
  manage.py djqueue resume queue mail
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    add_what(parser)
    end = parser.add_mutually_exclusive_group()
    end.add_argument("--seconds", type=float, help="for so long")
    end.add_argument("--until", metavar="TIME", help="ISO 8601, in the site's time zone if it names none")


def add_what(parser: ArgumentParser) -> None:
    parser.add_argument("kind", choices=["queue", "task", "key"], help="what the name is one of")
    parser.add_argument("name", metavar="NAME")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    kind, name = options["kind"], options["name"]
    try:
        until = _moment(options["until"])
        end = pause(**{kind: name}, seconds=options["seconds"], until=until)
    except ValueError as error:
        raise CommandError(str(error)) from None
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    if options["json"]:
        write_json(command, {"kind": kind, "name": name, "until": end})
    else:
        command.stdout.write(f"{kind} {name} is paused until {'it is resumed' if end == FOREVER else cell(end)}")


def _moment(text: str | None) -> datetime | None:
    try:
        return None if text is None else datetime.fromisoformat(text)
    except ValueError:
        raise ValueError(f"expected --until to be a time such as 2026-01-31T12:00, got: {text!r}") from None
