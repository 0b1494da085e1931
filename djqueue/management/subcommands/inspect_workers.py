"""``manage.py djqueue inspect COMMAND``: ask running workers."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from djqueue.control.catalogue import INSPECT

from . import asking

HELP = "ask running workers what they do"

DESCRIPTION = "Asks running workers, and prints what they answer. Changes nothing."
EXAMPLES = """\
examples:
  manage.py djqueue inspect active               what runs now
  manage.py djqueue inspect ping --limit 1       is anybody there? (a health check)
  manage.py djqueue inspect stats -d 'web1*'     of the workers whose names begin so
  manage.py djqueue inspect query_task ID ID     which worker has these tasks
  manage.py djqueue inspect registered rate_limit --json

"""


def add_arguments(parser: ArgumentParser) -> None:
    asking.add_arguments(parser, INSPECT, DESCRIPTION, EXAMPLES)


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    asking.run(command, options, INSPECT)
