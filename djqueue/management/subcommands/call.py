"""``manage.py djqueue call NAME``: enqueue a task."""

from __future__ import annotations

import json
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import datetime
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from djqueue import registry
from djqueue.enqueue import send_task
from djqueue.exceptions import DjqueueError, NotRegistered
from djqueue.management.tables import write_json

HELP = "enqueue a task"

DESCRIPTION = """\
Enqueues a task by its name and prints its id. The arguments are JSON, and are
checked as in the code that calls it.
"""
EXAMPLES = """\
examples:
  manage.py djqueue call shop.tasks.report
  manage.py djqueue call shop.tasks.report --args '[5, "pdf"]' --kwargs '{"draft": true}'
  manage.py djqueue call shop.tasks.report --countdown 60 -q reports --priority 5
  manage.py djqueue call shop.tasks.report --wait 30    and print its result

exit codes: 0 enqueued, and with --wait it succeeded; 1 an error, or it did not
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("name", metavar="NAME", help="the name of a task")
    parser.add_argument(
        "-a", "--args", dest="given_args", default="[]", metavar="JSON", help="positional arguments, a list"
    )
    parser.add_argument(
        "-k", "--kwargs", dest="given_kwargs", default="{}", metavar="JSON", help="keyword arguments, an object"
    )
    parser.add_argument("-q", "--queue", help="another queue than its own")
    parser.add_argument("--priority", type=int, help="-100 to 100, higher first")
    when = parser.add_mutually_exclusive_group()
    when.add_argument("--countdown", type=float, metavar="SECONDS", help="run it in so many seconds")
    when.add_argument("--eta", metavar="TIME", help="run it then: ISO 8601, in the site's time zone if it names none")
    parser.add_argument("--expires", metavar="SECONDS|TIME", help="do not run it later than that")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait for its end, and print its result")
    parser.add_argument("--unregistered", action="store_true", help="also if this process knows no task of that name")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    registry.load_all()
    args, kwargs = _json(options, "args", list), _json(options, "kwargs", dict)
    try:
        call = _call(options)
        chosen = {key: options[key] for key in ("queue", "priority", "countdown") if options[key] is not None}
        chosen.update((key, _moment(key, options[key])) for key in ("eta", "expires") if options[key] is not None)
        result = call(args, kwargs, **chosen)
    except (NotRegistered, DjqueueError, TypeError, ValueError) as error:
        raise CommandError(str(error)) from None
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    report: dict[str, Any] = {"id": result.id}
    if options["wait"] is not None:
        try:
            report["result"] = result.get(timeout=options["wait"])
        except Exception as error:  # the task's own
            raise CommandError(f"{result.id}: {type(error).__name__}: {error}") from None
    if options["json"]:
        write_json(command, report)
    else:
        command.stdout.write(result.id)
        if "result" in report:
            command.stdout.write(repr(report["result"]))


def _call(options: dict[str, Any]) -> Any:
    """Return what enqueues the task. Raises ``NotRegistered`` for one that is not known here."""
    name = options["name"]
    if options["unregistered"] and registry.find(name) is None:
        return lambda args, kwargs, **chosen: send_task(name, args, kwargs, **chosen)
    return registry.get(name).apply_async


def _json(options: dict[str, Any], name: str, kind: type) -> Any:
    try:
        value = json.loads(options[f"given_{name}"])
    except ValueError as error:
        raise CommandError(f"expected --{name} to be JSON, got: {options[f'given_{name}']!r} ({error})") from None
    if not isinstance(value, kind):
        word = "a list" if kind is list else "an object"
        raise CommandError(f"expected --{name} to be {word}, got: {options[f'given_{name}']!r}")
    return value


def _moment(name: str, text: str) -> Any:
    if name == "expires":
        try:
            return float(text)
        except ValueError:
            pass
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        kinds = "seconds or a time" if name == "expires" else "a time"
        raise ValueError(f"expected --{name} to be {kinds} such as 2026-01-31T12:00:00+01:00, got: {text!r}") from None
