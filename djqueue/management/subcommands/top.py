"""``manage.py djqueue top``: queues, workers and what goes through, in the terminal."""

from __future__ import annotations

import signal
import time
from argparse import ArgumentParser, RawDescriptionHelpFormatter
from datetime import timedelta
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connections
from django.utils.translation import override

from djqueue.admin import display, overview
from djqueue.admin.dashboard import count, duration
from djqueue.admin.figures import SPANS, Figures, recent_overview
from djqueue.admin.workers import slots_of
from djqueue.conf import settings

HELP = "show queues, workers and what goes through, until Ctrl-C"

DESCRIPTION = """\
Shows what the dashboard of the admin shows, in the terminal, and refreshes it.
Asks the database and no worker; only reads. Needs the package rich:
pip install "django-djqueue[top]".
"""
EXAMPLES = """\
examples:
  manage.py djqueue top                   refresh every 2 seconds, figures of the last hour
  manage.py djqueue top -s 24h -n 10      figures of a day, every 10 seconds
  manage.py djqueue top --once            print it once and end
"""
BUSIEST = 8


def add_arguments(parser: ArgumentParser) -> None:
    parser.description, parser.epilog = DESCRIPTION, EXAMPLES
    parser.formatter_class = RawDescriptionHelpFormatter
    parser.add_argument("-n", "--interval", type=float, default=2.0, metavar="SECONDS", help="between two looks (2)")
    parser.add_argument("-s", "--span", choices=list(SPANS), default="1h", help="time that figures are of (1h)")
    parser.add_argument("--once", action="store_true", help="print once and end")


def run(command: BaseCommand, options: dict[str, Any]) -> None:
    try:
        from rich.console import Console
        from rich.live import Live
    except ImportError:
        raise CommandError("needs the package rich: pip install 'django-djqueue[top]'") from None
    if not 0.1 <= options["interval"] <= 3600:
        raise CommandError(f"expected --interval to be 0.1 to 3600 seconds, got: {options['interval']:g}")
    output: Any = command.stdout
    console = Console(file=output._out, highlight=False)
    with override("en"):
        try:
            if options["once"]:
                console.print(screen(options["span"]))
                return
            _end_in_good_order()
            while not console.is_terminal:
                console.print(_looked(options["span"]))
                time.sleep(options["interval"])
            with Live(console=console, screen=True, auto_refresh=False) as live:
                while True:
                    live.update(_looked(options["span"]), refresh=True)
                    time.sleep(options["interval"])
        except KeyboardInterrupt:
            return
        except Error as error:
            raise CommandError(f"the database does not answer: {error}") from None


def _end_in_good_order() -> None:
    """Give the terminal back on SIGTERM too, and on SIGINT, which a shell lets its background ignore."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)


def _looked(span: str) -> Any:
    """Return the screen, or why there is none: it goes on when the database is back."""
    try:
        return screen(span)
    except Error as error:
        connections[settings.DATABASE].close()
        return f"the database does not answer: {error}"


def screen(span: str) -> Any:
    """Return what is shown: sums, queues, workers and the busiest tasks."""
    from rich.console import Group

    figures = recent_overview(settings.DATABASE, SPANS[span])
    parts = [_sums(span, figures.total), _queues(), _workers()]
    if figures.tasks:
        rows = [(name, *_cells(one)) for name, one in figures.tasks[:BUSIEST]]
        parts.append(_table("Busiest tasks", ("task", *COLUMNS), rows))
    return Group(*parts)


COLUMNS = ("succeeded", "failed", "retried", "lost", "waited 95 %", "ran 95 %")


def _cells(figures: Figures) -> tuple[str, ...]:
    endings = (figures.succeeded, figures.failed, figures.retried, figures.lost)
    return (*map(count, endings), duration(figures.wait(95)), duration(figures.run(95)))


def _sums(span: str, total: Figures) -> Any:
    return _table(f"djqueue, last {span}, at {time.strftime('%H:%M:%S')}", COLUMNS, [_cells(total)], words=0)


def _queues() -> Any:
    rows = [
        (
            queue.name,
            count(queue.ready) + ("+" if queue.more else ""),
            display.duration(queue.line.oldest),
            count(queue.line.running),
            count(queue.scheduled),
            display.pause_end(queue.paused_until),
        )
        for queue in overview.read_queues(settings.DATABASE)
    ]
    return _table("Queues", ("queue", "ready", "oldest", "running", "scheduled", "paused"), rows)


def _workers() -> Any:
    rows = []
    for worker in overview.read_workers(settings.DATABASE):
        lost = worker.lease_left < timedelta(0)
        state = "[red]lost[/]" if lost else "draining" if worker.draining else "[green]alive[/]"
        numbers = (worker.running, worker.succeeded, worker.failed)
        rows.append((worker.name, state, worker.queues, slots_of(worker), *map(count, numbers)))
    titles = ("worker", "lease", "queues", "pool", "running", "succeeded", "failed")
    return _table("Workers", titles, rows, words=4, marked=(1,))


def _table(title: str, titles: tuple[str, ...], rows: Any, words: int = 1, marked: tuple[int, ...] = ()) -> Any:
    """Return a table whose first ``words`` columns are words and the others numbers; ``marked`` hold markup."""
    from rich.markup import escape
    from rich.table import Table

    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for place, name in enumerate(titles):
        table.add_column(name, justify="left" if place < words else "right", overflow="ellipsis", no_wrap=True)
    for row in rows:
        table.add_row(*(cell if place in marked else escape(cell) for place, cell in enumerate(row)))
    if not table.row_count:
        table.add_row("none")
    return table
