"""How soon workers answer and obey, how soon a pause holds, and how long it takes to purge a long line.

* replies: questions to all workers while they are idle, and while they get through a backlog.
* pause: from its commit to the last start of a task that it is about, while such tasks flow; and from its end to the
  first start.
* purge: of that many tasks in line, and of as many that a limit holds back.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import Any

import psycopg

from benchmarks.lab import load
from benchmarks.lab.figures import say, spread
from benchmarks.lab.site import Site
from benchmarks.lab.workers import await_ready, running_worker
from benchmarks.tasks import four_at_once, noop, rests
from djqueue import control

NOW = "SELECT extract(epoch FROM clock_timestamp())::double precision"
STARTED = """
SELECT extract(epoch FROM {which}(started_at))::double precision
FROM djqueue_taskresult WHERE task_id BETWEEN %s AND %s AND started_at > to_timestamp(%s)
"""
FLOW = 0.02
"""Seconds between two groups of tasks that flow while something is paused."""
HELD = 1.5
"""Seconds for which a pause is held, to see whether something starts all the same."""
PARK = """
WITH taken AS (DELETE FROM djqueue_readytask RETURNING task_id, seq)
INSERT INTO djqueue_parkedtask (gate, rank, task_id, attempt, slots, seq)
SELECT task.options ->> 'gate', 0, task.id, 0, 4, taken.seq FROM taken JOIN djqueue_task AS task ON task.id = task_id
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--workers", type=int, default=2, metavar="N", help="workers (2)")
    parser.add_argument("--questions", type=int, default=100, metavar="N", help="questions (100)")
    parser.add_argument("--pauses", type=int, default=10, metavar="N", help="pauses of each kind (10)")
    parser.add_argument("--purge", type=int, default=100_000, metavar="N", help="tasks to purge (100,000)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    report: dict[str, Any] = {"workers": options.workers, "questions": options.questions}
    with site.connect() as connection, ExitStack() as stack:
        load.empty(connection)
        for number in range(options.workers):
            await_ready(site, stack.enter_context(running_worker(site, "-c", "1")), number + 1)
        noop.delay().get(timeout=30)
        report |= _named("reply_idle", _ask(options))
        load.enqueue(noop, options.questions * 1000)
        report |= _named("reply_busy", _ask(options))
        load.empty(connection)
        for kind, name in (("queue", "default"), ("task", rests.name)):
            pauses, resumes = _pauses(connection, options.pauses, {kind: name})
            report |= _named(f"pause_{kind}", pauses) | _named(f"resume_{kind}", resumes)
    with site.connect() as connection:
        report["purged"] = options.purge
        report["purge_ready_per_s"] = round(_purge(connection, options.purge, parked=False))
        report["purge_parked_per_s"] = round(_purge(connection, options.purge, parked=True))
    return report


def _named(name: str, seconds: list[float]) -> dict[str, float]:
    found = {f"{name}_{key}": value for key, value in spread(seconds).items()}
    say(", ".join(f"{key} {value}" for key, value in found.items()))
    return found


def _ask(options: argparse.Namespace) -> list[float]:
    waits = []
    for _ in range(options.questions):
        began = time.monotonic()
        replies = control.inspect(timeout=10).ping()
        waits.append(time.monotonic() - began)
        if len(replies) != options.workers:
            raise RuntimeError(f"expected {options.workers} replies, got: {replies}")
    return waits


def _pauses(connection: psycopg.Connection, number: int, way: dict[str, str]) -> tuple[list[float], list[float]]:
    """Return how long tasks went on to start after each pause was committed, and how long none did after its end."""
    pauses, resumes = [], []
    for _ in range(number):
        flowing = _flow(0.5)
        control.pause(**way)
        paused = _now(connection)
        waiting = _flow(HELD)
        last = connection.execute(STARTED.format(which="max"), (flowing.lowest, waiting.highest, paused)).fetchone()[0]
        pauses.append(max(0.0, (last or paused) - paused))
        control.resume(**way)
        resumed = _now(connection)
        _await_all(connection, flowing.lowest, waiting.highest)
        first = connection.execute(STARTED.format(which="min"), (flowing.lowest, waiting.highest, resumed)).fetchone()[
            0
        ]
        resumes.append(max(0.0, first - resumed))
    return pauses, resumes


def _flow(seconds: float) -> load.Load:
    """Enqueue some tasks again and again for that long; return all of them."""
    until = time.monotonic() + seconds
    lowest = highest = ""
    size = 0
    while time.monotonic() < until:
        more = load.Load(*[rests.delay().id] * 2, 1)
        lowest, highest, size = lowest or more.lowest, more.highest, size + 1
        time.sleep(FLOW)
    return load.Load(lowest, highest, size)


def _await_all(connection: psycopg.Connection, lowest: str, highest: str) -> None:
    deadline = time.monotonic() + 30
    while connection.execute(
        "SELECT EXISTS (SELECT FROM djqueue_task AS task WHERE id BETWEEN %s AND %s AND NOT EXISTS"
        " (SELECT FROM djqueue_taskresult WHERE task_id = task.id))",
        (lowest, highest),
    ).fetchone()[0]:
        if time.monotonic() > deadline:
            raise RuntimeError("expected all tasks to run after the end of the pause; some do not")
        time.sleep(0.01)


def _now(connection: psycopg.Connection) -> float:
    return float(connection.execute(NOW).fetchone()[0])


def _purge(connection: psycopg.Connection, tasks: int, *, parked: bool) -> float:
    """Return how many tasks a second a purge of all of them cancels."""
    load.empty(connection)
    task = four_at_once if parked else noop
    for start in range(0, tasks, 100_000):
        task.delay_many(((), {}) for _ in range(start, min(start + 100_000, tasks)))
    if parked:
        connection.execute(PARK)
    began = time.monotonic()
    purged = control.purge()
    seconds = time.monotonic() - began
    if purged != tasks:
        raise RuntimeError(f"expected {tasks:,} tasks to be purged, got: {purged:,}")
    say(f"purged {tasks:,} {'parked' if parked else 'ready'} tasks in {seconds:.1f} s")
    return tasks / seconds
