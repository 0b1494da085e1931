"""``manage.py djqueue status``: who works, and what waits."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from djqueue.management.tables import write_json, write_table

from . import lists

HELP = "say which workers live, and what waits in the queues"

DESCRIPTION = """\
Reads the workers' heartbeats and the queues; asks nobody. Only reads.
"""
EXAMPLES = """\
examples:
  manage.py djqueue status
  manage.py djqueue status --json        for a monitor
  manage.py djqueue status --quiet       only the exit code

exit codes: 0 a worker lives, 1 none does, or an error
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("--json", action="store_true", help="print one JSON object")
    parser.add_argument("--quiet", action="store_true", help="print nothing")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    try:
        workers, queues, pauses = lists.workers(), lists.queues(), lists.pauses()
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    alive = [worker for worker in workers if worker["alive"]]
    if options["json"]:
        write_json(command, {"workers": workers, "queues": queues, "pauses": pauses})
    elif not options["quiet"]:
        for title, rows in (("workers", workers), ("queues", queues), ("paused", pauses)):
            if rows:
                write_table(command, list(rows[0]), [list(row.values()) for row in rows])
                command.stdout.write("")
            elif title != "paused":
                command.stdout.write(f"no {title}\n")
        command.stdout.write(f"{len(alive)} worker{'s' if len(alive) != 1 else ''} alive")
    if not alive:
        sys.exit(1)
