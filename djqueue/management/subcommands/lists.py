"""``manage.py djqueue list WHAT``: workers, queues, tasks, schedules and pauses as they stand in the database."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from collections.abc import Callable
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connections
from django.utils import timezone

from djqueue import registry
from djqueue.conf import settings
from djqueue.control.pausing import paused
from djqueue.management.tables import write_json, write_table
from djqueue.models import Schedule, Task, Worker
from djqueue.states import State
from djqueue.store.lines import queue_lines

HELP = "list workers, queues, tasks, definitions, schedules or pauses"

DESCRIPTION = """\
Lists what stands in the database; asks no worker. Only reads.
"""
EXAMPLES = """\
examples:
  manage.py djqueue list queues
  manage.py djqueue list tasks --state failed --limit 20
  manage.py djqueue list tasks --state ready -q mail --name 'shop.tasks.send'
  manage.py djqueue list registered --json

Tasks come newest first. Queues are counted to 10,000.
"""


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("what", choices=[*LISTS, "tasks"], help="what to list")
    parser.add_argument("--json", action="store_true", help="print a JSON list")
    tasks = parser.add_argument_group("which tasks")
    tasks.add_argument("--state", choices=[state.name.lower() for state in State])
    tasks.add_argument("-q", "--queue")
    tasks.add_argument("--name", help="the name of the task")
    tasks.add_argument("--limit", type=int, default=50, metavar="NUMBER", help="at the most so many (50)")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    what = options["what"]
    if what != "tasks":
        for option in ("state", "queue", "name"):
            if options[option] is not None:
                raise CommandError(f"expected --{option} only with tasks, got: {what}")
    elif options["limit"] < 1:
        raise CommandError(f"expected --limit to be 1 or more, got: {options['limit']}")
    try:
        rows = tasks(options) if what == "tasks" else LISTS[what]()
    except Error as error:
        raise CommandError(f"the database does not answer: {error}") from None
    if options["json"]:
        write_json(command, rows)
    elif rows:
        write_table(command, list(rows[0]), [list(row.values()) for row in rows])
    else:
        command.stdout.write(f"no {what}")


def workers() -> list[dict[str, Any]]:
    now = timezone.now()
    return [
        {
            "name": worker.name,
            "alive": worker.lease_until > now,
            "draining": worker.draining,
            "queues": worker.queues,
            "pool": worker.pool,
            "executors": worker.processes,
            "running": worker.running,
            "succeeded": worker.succeeded,
            "failed": worker.failed,
            "heartbeat": worker.heartbeat_at,
        }
        for worker in Worker.objects.using(settings.DATABASE).order_by("name", "pk")
    ]


def queues() -> list[dict[str, Any]]:
    with connections[settings.DATABASE].cursor() as cursor:
        lines = queue_lines(cursor)
    return [
        {
            "queue": line.name,
            "ready": line.ready,
            "parked": line.parked,
            "running": line.running,
            "paused_until": line.paused_until,
        }
        for line in lines
    ]


def pauses() -> list[dict[str, Any]]:
    return [one._asdict() for one in paused()]


def registered() -> list[dict[str, Any]]:
    registry.load_all()
    found = []
    for name in registry.names():
        definition = registry.get(name)
        found.append({"name": name, "queue": getattr(definition, "queue", None) or settings.DEFAULT_QUEUE})
    return found


def schedules() -> list[dict[str, Any]]:
    return [
        {
            "name": schedule.name,
            "task": schedule.task,
            "enabled": schedule.enabled,
            "next_run": schedule.next_run_at,
            "last_run": schedule.last_run_at,
            "runs": schedule.total_runs,
        }
        for schedule in Schedule.objects.using(settings.DATABASE).order_by("name")
    ]


def tasks(options: dict[str, Any]) -> list[dict[str, Any]]:
    found: Any = Task.objects.using(settings.DATABASE).with_state().order_by("-pk")
    if options["state"] is not None:
        found = _in_state(found, State[options["state"].upper()])
    if options["queue"] is not None:
        found = found.filter(queue=options["queue"])
    if options["name"] is not None:
        found = found.filter(name=options["name"])
    return [
        {
            "id": str(task.pk),
            "name": task.name,
            "state": State(task.state_code).name.lower(),
            "queue": task.queue,
            "priority": task.priority,
            "created": task.created_at,
        }
        for task in found[: options["limit"]]
    ]


def _in_state(found: Any, state: State) -> Any:
    if state.finished:
        return found.finished(state)
    return getattr(found, state.name.lower())()


LISTS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "workers": workers,
    "queues": queues,
    "registered": registered,
    "schedules": schedules,
    "pauses": pauses,
}
