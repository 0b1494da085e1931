"""``manage.py djqueue resume``: end a pause."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from djqueue.control.pausing import resume
from djqueue.management.tables import write_json

from .pause import add_what

HELP = "end a pause"

DESCRIPTION = """\
Ends a pause, and brings back what it has put off. Exit code 1 if there was none.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description = DESCRIPTION
    parser.formatter_class = RawDescriptionHelpFormatter
    add_what(parser)


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    kind, name = options["kind"], options["name"]
    try:
        ended = resume(**{kind: name})
    except ValueError as error:
        raise CommandError(str(error)) from None
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    if options["json"]:
        write_json(command, {"kind": kind, "name": name, "resumed": ended})
    else:
        command.stdout.write(f"{kind} {name} {'goes on' if ended else 'was not paused'}")
    if not ended:
        sys.exit(1)
