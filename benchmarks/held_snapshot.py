"""Whether a drain slows down while a long read-only transaction keeps vacuum from cleaning up behind it.

The same load is drained twice, the second time with a REPEATABLE READ transaction open all the while. Rates
are those of windows of 20,000 tasks in the order in which they finished; the last one, behind the most dead
rows, counts.
"""

from __future__ import annotations

import argparse
from typing import Any

import psycopg

from benchmarks.lab import load
from benchmarks.lab.figures import say
from benchmarks.lab.site import Site
from benchmarks.lab.workers import running_worker
from benchmarks.tasks import noop

WINDOW = 20_000
RATES = """
SELECT round(count(*) / extract(epoch FROM max(finished_at) - min(finished_at)))::integer
FROM (
    SELECT finished_at, (row_number() OVER (ORDER BY finished_at) - 1) / %s AS number
    FROM djqueue_taskresult WHERE task_id BETWEEN %s AND %s
) AS finished
GROUP BY number ORDER BY number
"""
# Any statement takes the snapshot; one that reads no table keeps no lock on it.
HOLD = ("BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY", "SELECT 1")


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=200_000, metavar="N", help="tasks in line (200,000)")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection, site.connect() as reader:
        free = _drain(site, connection, options)
        say(f"free: {free} tasks/s")
        load.empty(connection)
        for statement in HOLD:
            reader.execute(statement)
        held = _drain(site, connection, options)
        say(f"with a snapshot held: {held} tasks/s")
    return {
        "tasks": options.tasks,
        "window": WINDOW,
        "free_last_per_s": free[-1],
        "held_last_per_s": held[-1],
        "ratio": round(held[-1] / free[-1], 3),
        "windows_free_per_s": free,
        "windows_held_per_s": held,
    }


def _drain(site: Site, connection: psycopg.Connection, options: argparse.Namespace) -> list[int]:
    waiting = load.enqueue(noop, options.tasks)
    with running_worker(site, "-c", str(options.concurrency)) as worker:
        load.seconds_to_settle(connection, waiting, worker)
    return [rate for (rate,) in connection.execute(RATES, (WINDOW, waiting.lowest, waiting.highest))]
