"""``manage.py djqueue result ID``: what became of a task."""

from __future__ import annotations

import sys
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error

from djqueue import registry, states
from djqueue.exceptions import DjqueueError, TimeoutError
from djqueue.management.tables import cell, write_json
from djqueue.redaction import redact, redact_arguments
from djqueue.results import AsyncResult

HELP = "say what became of a task"

DESCRIPTION = """\
Prints the state of a task, and its result or its error. Only reads. Secrets in
arguments and results are not shown (DJQUEUE["REDACT"]).
"""
EXAMPLES = """\
examples:
  manage.py djqueue result 0198c2a4-...
  manage.py djqueue result 0198c2a4-... --wait 60      until it has ended
  manage.py djqueue result 0198c2a4-... --traceback             with that of its error

exit codes: 0 it succeeded, or has not ended yet; 1 it failed, was cancelled, is not
known, or did not end in time
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("id", metavar="ID", help="the id of a task")
    parser.add_argument("--wait", type=float, metavar="SECONDS", help="wait for its end")
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    registry.load_all()
    try:
        result = AsyncResult(options["id"])
        if not result.exists():
            raise CommandError(f"expected the id of a task that is known, got: {result.id}")
        if options["wait"] is not None:
            result.get(timeout=options["wait"], propagate=False)
        facts = _facts(result)
    except (ValueError, DjqueueError) as error:
        said = f"{error}" if not isinstance(error, TimeoutError) else f"{result.id} has not ended: it is {result.state}"
        raise CommandError(said) from None
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    if options["json"]:
        write_json(command, facts)
    else:
        _print(command, facts, options)
    if facts["state"] in (states.FAILURE, states.REVOKED):
        sys.exit(1)


def _facts(result: AsyncResult) -> dict[str, Any]:
    name, state, value = result.name, result.state, result.result
    args, kwargs = redact_arguments(name or "", result.args or [], result.kwargs or {})
    failed = isinstance(value, BaseException)
    return {
        "id": result.id,
        "name": name,
        "state": state,
        "queue": result.queue,
        "args": args,
        "kwargs": kwargs,
        "retries": result.retries,
        "worker": result.worker,
        "finished": result.date_done,
        "result": None if failed else redact(value),
        "error": f"{type(value).__name__}: {value}" if failed else None,
        "traceback": result.traceback,
    }


def _print(command: BaseCommand, facts: dict[str, Any], options: dict[str, Any]) -> None:
    for key in ("id", "name", "state", "queue", "args", "kwargs", "retries", "worker", "finished", "result", "error"):
        if facts[key] is not None:
            command.stdout.write(f"{key + ':':10} {facts[key] if key == 'error' else cell(facts[key])}")
    if options["traceback"] and facts["traceback"]:
        command.stdout.write(facts["traceback"].rstrip())
