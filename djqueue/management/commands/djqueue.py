"""``manage.py djqueue SUBCOMMAND``: look after the queue."""

from __future__ import annotations

import argparse
from types import ModuleType
from typing import Any

from django.core.management.base import BaseCommand, CommandParser

from djqueue.management.subcommands import (
    call,
    control_workers,
    doctor,
    graph,
    import_celery_beat,
    inspect_workers,
    lists,
    pause,
    purge,
    result,
    resume,
    status,
    token,
    top,
)

SUBCOMMANDS: dict[str, ModuleType] = {
    "status": status,
    "top": top,
    "list": lists,
    "inspect": inspect_workers,
    "control": control_workers,
    "pause": pause,
    "resume": resume,
    "purge": purge,
    "call": call,
    "result": result,
    "doctor": doctor,
    "graph": graph,
    "token": token,
    "import_celery_beat": import_celery_beat,
}


class Command(BaseCommand):
    help = "Look after the task queue. Each subcommand explains itself: manage.py djqueue SUBCOMMAND --help."
    # The doctor reports what they find, and must be able to run where they fail.
    requires_system_checks = []

    def add_arguments(self, parser: CommandParser) -> None:
        subparsers = parser.add_subparsers(title="subcommands", dest="subcommand", metavar="SUBCOMMAND", required=True)
        for name, module in SUBCOMMANDS.items():
            subparser = subparsers.add_parser(name, help=module.HELP)
            accept_common_options(subparser)
            module.add_arguments(subparser)

    def handle(self, *args: Any, **options: Any) -> None:
        SUBCOMMANDS[options["subcommand"]].run(self, options)


def accept_common_options(parser: argparse.ArgumentParser) -> None:
    """Let ``--no-color`` and its like also stand behind the subcommand, where one would type them."""
    for flag in ("--no-color", "--force-color", "--traceback"):
        parser.add_argument(flag, action="store_true", default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    for option in ("--settings", "--pythonpath"):
        parser.add_argument(option, default=argparse.SUPPRESS, help=argparse.SUPPRESS)
    parser.add_argument(
        "-v", "--verbosity", type=int, choices=range(4), default=argparse.SUPPRESS, help=argparse.SUPPRESS
    )
