"""How exact rate limits are, and what limits cost: those who have them and those who have not.

* rate: some workers run a task of 100/s for a minute while plain tasks flow; counted are the starts in that minute.
* plain: a worker gets through plain tasks, without any limit in force, and with a backlog of rate-limited
  tasks in the same line. The pairs are measured in turn, and the median of their ratios counts.
* keys: tasks of as many concurrency keys, then of as many rate keys; hot: tasks of one key with a limit of four.
"""

from __future__ import annotations

import argparse
import time
from contextlib import ExitStack
from typing import Any

import psycopg

from benchmarks.lab import load
from benchmarks.lab.figures import median, say
from benchmarks.lab.site import Site
from benchmarks.lab.workers import await_ready, running_worker
from benchmarks.tasks import four_at_once, hundred_a_second, noop, once_an_hour, one_of_each, thousand_a_second_each
from djqueue.definition import TaskDefinition

RATE = 100
WARM_UP = 3.0
"""Seconds before the rate is measured: the tokens that were kept at the start are used up."""
STARTS = """
SELECT count(*) FROM djqueue_taskresult
WHERE task_id BETWEEN %s AND %s AND started_at >= to_timestamp(%s) AND started_at < to_timestamp(%s)
"""
SOME_STARTS = "SELECT count(*) > 50 FROM djqueue_taskresult WHERE task_id BETWEEN %s AND %s"
NOW = "SELECT extract(epoch FROM clock_timestamp())::double precision"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=60.0, metavar="S", help="that the rate is measured (60)")
    parser.add_argument("--workers", type=int, default=8, metavar="N", help="workers that share the rate (8)")
    parser.add_argument("--tasks", type=int, default=20_000, metavar="N", help="plain tasks in line (20,000)")
    parser.add_argument(
        "--keys", type=int, default=100_000, metavar="N", help="keys of each kind, a task each (100,000)"
    )
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    report: dict[str, Any] = {"workers": options.workers, "seconds": options.seconds, **_rate(site, options)}
    alone, mixed = [], []
    for number in range(options.repeat):
        alone.append(_drain(site, noop, options.tasks))
        mixed.append(_drain(site, noop, options.tasks, beside=once_an_hour))
        say(
            f"plain {number + 1}/{options.repeat}: {alone[-1]:,.0f} tasks/s alone, {mixed[-1]:,.0f} beside limited ones"
        )
    report["plain_tasks_per_s"] = round(median(alone))
    report["plain_beside_limited_tasks_per_s"] = round(median(mixed))
    report["plain_ratio"] = round(median([b / a for a, b in zip(alone, mixed, strict=True)]), 3)
    report["keys"] = options.keys
    report["keys_tasks_per_s"] = round(_drain(site, one_of_each, options.keys, arguments=True))
    report["rate_keys_tasks_per_s"] = round(_drain(site, thousand_a_second_each, options.keys, arguments=True))
    report["hot_key_tasks_per_s"] = round(_drain(site, four_at_once, options.tasks // 4))
    return report


def _rate(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with ExitStack() as stack:
        connection = stack.enter_context(site.connect())
        load.empty(connection)
        workers = [stack.enter_context(running_worker(site, "-c", "1")) for _ in range(options.workers)]
        await_ready(site, workers[-1], len(workers))
        limited = load.enqueue(hundred_a_second, int(RATE * (options.seconds + WARM_UP) * 1.5))
        # A worker is registered before its executors are there, by seconds where the machine is busy.
        while not connection.execute(SOME_STARTS, limited[:2]).fetchone()[0]:
            workers[0].check()
            time.sleep(0.05)
        time.sleep(WARM_UP)
        began = _now(connection)
        plain = 0
        lowest = highest = ""
        while (left := began + options.seconds - _now(connection)) > 0:
            more = load.enqueue(noop, 500)
            lowest, highest = lowest or more.lowest, more.highest
            plain += more.size
            time.sleep(min(left, 0.5))
        starts = connection.execute(STARTS, (*limited[:2], began, began + options.seconds)).fetchone()[0]
        done = connection.execute(STARTS, (lowest, highest, began, began + options.seconds)).fetchone()[0]
        deviation = starts / (RATE * options.seconds) - 1
        say(f"rate: {starts:,} starts in {options.seconds:g} s, {deviation:+.2%}; {done:,} of {plain:,} plain tasks")
        return {
            "rate_starts": starts,
            "rate_deviation_percent": round(100 * deviation, 2),
            "rate_plain_started": done,
            "rate_plain_enqueued": plain,
        }


def _now(connection: psycopg.Connection) -> float:
    return float(connection.execute(NOW).fetchone()[0])


def _drain(
    site: Site, task: TaskDefinition, number: int, *, arguments: bool = False, beside: TaskDefinition | None = None
) -> float:
    """Return how many tasks a second a worker with two executors gets through."""
    with site.connect() as connection:
        load.empty(connection)
        if beside is not None:
            load.enqueue(beside, number // 4)
        if arguments:
            ids = [result.id for result in task.delay_many(((key,), {}) for key in range(number))]
            waiting = load.Load(min(ids), max(ids), number)
        else:
            waiting = load.enqueue(task, number)
        with running_worker(site, "-c", "2") as worker:
            return number / load.seconds_to_settle(connection, waiting, worker)
