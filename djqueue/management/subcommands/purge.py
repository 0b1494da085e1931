"""``manage.py djqueue purge``: drop what waits in line."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connections

from djqueue.conf import did_you_mean, settings
from djqueue.control.purging import purge
from djqueue.management.tables import write_json
from djqueue.store.lines import COUNTED, QueueLine, queue_lines

HELP = "drop what waits in line"

DESCRIPTION = """\
Cancels every task that is in line, in some queues or in all, also if a limit
holds it back. They end as REVOKED, and so do the later steps of their
workflows. What runs, or is not due yet, stays. Asks before it does anything.
"""
EXAMPLES = """\
examples:
  manage.py djqueue purge                     everything in line, after a question
  manage.py djqueue purge -Q mail,reports     two queues
  manage.py djqueue purge -X mail --force     all but one, without a question

exit codes: 0 purged, or nothing was there; 1 an error, or the answer was not yes
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("-Q", "--queues", metavar="NAMES", help="queues to purge, separated by commas (default: all)")
    parser.add_argument("-X", "--exclude-queues", metavar="NAMES", help="queues not to purge")
    parser.add_argument("-f", "--force", action="store_true", help="do not ask")
    parser.add_argument("--json", action="store_true", help='print {"purged": NUMBER}; needs --force')


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    if options["json"] and not options["force"]:
        raise CommandError("expected --force with --json, because there is nobody to ask")
    try:
        with connections[settings.DATABASE].cursor() as cursor:
            chosen = _chosen(queue_lines(cursor), options)
        if not chosen:
            number = 0
        elif options["force"] or _agreed(command, chosen):
            number = purge([line.name for line in chosen])
        else:
            raise CommandError("nothing was purged")
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    if options["json"]:
        write_json(command, {"purged": number})
    else:
        command.stdout.write(f"{number:,} tasks were purged" if number else "nothing is in line")


def _chosen(lines: list[QueueLine], options: dict[str, Any]) -> list[QueueLine]:
    """Return the queues to purge that have something in line. Raises ``CommandError`` for one that is not there."""
    known = {line.name: line for line in lines}
    asked, excluded = (_names(options[option]) for option in ("queues", "exclude_queues"))
    for name in [*asked, *excluded]:
        if name not in known:
            raise CommandError(f"unknown queue {name!r}. {did_you_mean(name, known) if known else 'There is none.'}")
    return [known[name] for name in asked or known if name not in excluded and _waiting(known[name])]


def _waiting(line: QueueLine) -> int:
    return line.ready + line.parked


def _names(given: str | None) -> list[str]:
    return [name.strip() for name in (given or "").split(",") if name.strip()]


def _agreed(command: BaseCommand, lines: list[QueueLine]) -> bool:
    command.stdout.write("This drops what is in line:")
    for line in lines:
        count = f"{_waiting(line):,}" + (" or more" if line.ready >= COUNTED else "")
        command.stdout.write(f"  {line.name}: {count} tasks")
    try:
        return input("Type yes to go on: ").strip().lower() == "yes"
    except EOFError:
        return False
