"""``manage.py djqueue control COMMAND``: tell running workers to do something."""

from __future__ import annotations

from argparse import ArgumentParser
from typing import Any

from django.core.management.base import BaseCommand

from djqueue.control.catalogue import CONTROL, Command, Parameter
from djqueue.control.limiting import rate_limit
from djqueue.control.revoking import revoke, revoke_by_stamped_headers, terminate

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
  manage.py djqueue control rate_limit shop.tasks.report 100/m
  manage.py djqueue control revoke ID ID
  manage.py djqueue control shutdown -d 'worker-*@web1'

"""


def _revoke(ids: list[str]) -> str:
    return _revoked(revoke(ids), ids)


def _terminate(signal: str, ids: list[str]) -> str:
    return _revoked(terminate(ids, signal=signal), ids)


def _revoke_stamped(stamps: list[str]) -> str:
    pairs = [stamp.partition("=") for stamp in stamps]
    if unclear := [name for name, given, _ in pairs if not (name and given)]:
        raise ValueError(f"expected stamps as name=value, got: {unclear[0]!r}")
    headers: dict[str, list[Any]] = {}
    for name, _, text in pairs:
        # On the command line 7 may be meant as the number or as the text.
        headers.setdefault(name, []).extend([text, int(text)] if text.isdecimal() else [text])
    return f"{len(revoke_by_stamped_headers(headers))} cancelled at once; those that run are asked to end"


def _rate_limit(task_name: str, rate: str) -> str:
    rate_limit(task_name, None if rate == DECLARED else rate)
    return f"{task_name}: {rate}"


def _revoked(cancelled: set[str], ids: list[str]) -> str:
    return f"{len(cancelled)} cancelled at once, {len(set(ids)) - len(cancelled)} asked to end, finished or unknown"


_IDS = Parameter("ids", list)
DECLARED = "declared"
# What needs no worker to be done: it is in the database, and holds for all of them.
LOCAL = {
    "rate_limit": Command(
        "rate_limit",
        CONTROL,
        f"let no more tasks of a name start, in all workers together: 100/m; 0 for no limit, {DECLARED!r} for its own",
        (Parameter("task_name", str), Parameter("rate", str)),
        _rate_limit,
    ),
    "revoke": Command("revoke", CONTROL, "cancel tasks; those that run are asked to end", (_IDS,), _revoke),
    "revoke_by_stamped_headers": Command(
        "revoke_by_stamped_headers",
        CONTROL,
        "cancel the unfinished tasks that carry a stamp: customer=7",
        (Parameter("stamps", list),),
        _revoke_stamped,
    ),
    "terminate": Command(
        "terminate", CONTROL, "cancel tasks, and kill those that run", (Parameter("signal", str), _IDS), _terminate
    ),
}


def add_arguments(parser: ArgumentParser) -> None:
    asking.add_arguments(parser, CONTROL, DESCRIPTION, EXAMPLES, LOCAL)


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    asking.run(command, options, CONTROL, LOCAL)
