"""``manage.py djqueue control COMMAND``: tell running workers to do something."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from djqueue.control.catalogue import CONTROL

from . import asking

HELP = "tell running workers to do something"

DESCRIPTION = """\
Tells running workers to do something, and waits until they have. It holds for
the workers that live now, until they end."""
EXAMPLES = """\
examples:
  manage.py djqueue control add_consumer mail
  manage.py djqueue control pool_grow 2 -d worker-4711@web1
  manage.py djqueue control autoscale 10 2
  manage.py djqueue control time_limit shop.tasks.report hard=120 soft=100
  manage.py djqueue control shutdown -d 'worker-*@web1'

"""


def add_arguments(parser: ArgumentParser) -> None:
    asking.add_arguments(parser, CONTROL, DESCRIPTION, EXAMPLES)


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    asking.run(command, options, CONTROL)
