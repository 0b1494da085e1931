"""``manage.py djqueue graph ID``: the workflow that a task belongs to, with the state of each step."""

from __future__ import annotations

from argparse import ArgumentParser, RawDescriptionHelpFormatter
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import connections

from djqueue.conf import settings
from djqueue.observability.picture import TIMES, draw
from djqueue.observability.tree import MOST_READ, Node, folded, read_tree
from djqueue.uuid7 import as_task_id

HELP = "show the workflow that a task belongs to"

DESCRIPTION = """\
Prints what a task has caused, directly and indirectly, with the state of each
step; given any step of a workflow, the whole of it. Members of a group that are
alike are shown as one, unless --all is given. Only reads.
"""
EXAMPLES = """\
examples:
  manage.py djqueue graph 0198c2a4-...                   a tree to read
  manage.py djqueue graph 0198c2a4-... --svg > flow.svg  a picture
"""
SYMBOLS = {"succeeded": "✓", "failed": "✗", "cancelled": "⊘", "running": "▶", "waiting": "…"}


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("id", metavar="ID", help="the id of a task")
    parser.add_argument("--svg", action="store_true", help="print a picture instead, as SVG")
    parser.add_argument("--all", action="store_true", help="show each task, also those that are alike")
    parser.add_argument(
        "--most", type=int, default=MOST_READ, metavar="N", help="tasks to look at, the first ones (100,000)"
    )


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    try:
        task_id = as_task_id(options["id"])
    except ValueError as error:
        raise CommandError(str(error)) from None
    with connections[settings.DATABASE].cursor() as cursor:
        nodes = read_tree(cursor, task_id, options["most"])
    if not nodes:
        raise CommandError(f"expected the id of a task that is known, got: {task_id}")
    nodes = nodes if options["all"] else folded(nodes)
    if options["svg"]:
        command.stdout.write(draw(nodes))
        return
    for line in lines(nodes):
        command.stdout.write(line)


def lines(nodes: list[Node]) -> list[str]:
    """Return a line for each task, below the one that caused it."""
    known = {node.id for node in nodes}
    below: dict[str | None, list[Node]] = {}
    for node in nodes:
        below.setdefault(node.parent_id if node.parent_id in known else None, []).append(node)
    found: list[str] = []
    pending = [(node, 0) for node in reversed(below.get(None, []))]
    while pending:
        node, depth = pending.pop()
        symbol = SYMBOLS.get(node.state, "·")
        found.append(f"{'  ' * depth}{symbol} {node.name}{_state(node)}  {node.id}{_waits(node)}")
        pending += [(child, depth + 1) for child in reversed(below.get(node.id, []))]
    return found


def _state(node: Node) -> str:
    if node.number == 1:
        return f"  {node.state}"
    return f" {TIMES} {node.number:,}  " + ", ".join(f"{number:,} {state}" for state, number in node.states.items())


def _waits(node: Node) -> str:
    return f"  (waits for {node.waits_for})" if node.waits_for else ""
