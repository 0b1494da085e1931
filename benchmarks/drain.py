"""How fast a worker with two executors gets through waiting no-op tasks, results stored.

Measured from the start of the first body to the last row settled in the store, not counting the start of the
worker, as the peers were. The worker logs at WARNING; one figure shows what a log line per task costs.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable
from typing import Any, NamedTuple

from benchmarks.lab import load
from benchmarks.lab.figures import median, say
from benchmarks.lab.site import Site
from benchmarks.lab.workers import Worker, running_worker
from benchmarks.tasks import noop, noop_ignored, noop_limited
from djqueue.definition import TaskDefinition


class Run(NamedTuple):
    """One drain."""

    seconds: float
    tasks_per_s: float
    pss_mb: float


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=20_000, metavar="N", help="tasks in line (20,000)")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    kinds: dict[str, Callable[[Site, argparse.Namespace], Run]] = {
        "stored": _stored,
        "ignored": _ignored,
        "time limits": lambda site, options: _stored(site, options, task=noop_limited),
        "info log": lambda site, options: _stored(site, options, loglevel="INFO"),
    }
    runs: dict[str, list[Run]] = {kind: [] for kind in kinds}
    for number in range(options.repeat):
        for kind, drain in kinds.items():
            runs[kind].append(drain(site, options))
            say(f"drain {number + 1}/{options.repeat}, {kind}: {runs[kind][-1].tasks_per_s:,.0f} tasks/s")
    rates = {kind: [round(run.tasks_per_s) for run in done] for kind, done in runs.items()}
    return {
        "tasks": options.tasks,
        "concurrency": options.concurrency,
        "tasks_per_s": median(rates["stored"]),
        "wall_s": round(median(run.seconds for run in runs["stored"]), 3),
        "pss_mb": round(median(run.pss_mb for run in runs["stored"]), 1),
        "ignore_result_tasks_per_s": median(rates["ignored"]),
        "info_log_tasks_per_s": median(rates["info log"]),
        "time_limits_tasks_per_s": median(rates["time limits"]),
        "runs_tasks_per_s": rates["stored"],
        "runs_ignore_result_tasks_per_s": rates["ignored"],
        "runs_info_log_tasks_per_s": rates["info log"],
        "runs_time_limits_tasks_per_s": rates["time limits"],
    }


def _stored(site: Site, options: argparse.Namespace, loglevel: str = "WARNING", task: TaskDefinition = noop) -> Run:
    with site.connect() as connection:
        load.empty(connection)
        waiting = load.enqueue(task, options.tasks)
        with running_worker(site, "-c", str(options.concurrency), loglevel=loglevel) as worker:
            return _run(worker, load.seconds_to_settle(connection, waiting, worker), options.tasks)


def _ignored(site: Site, options: argparse.Namespace) -> Run:
    with site.connect() as connection:
        load.empty(connection)
        first = load.enqueue(noop, 1)
        waiting = load.enqueue(noop_ignored, options.tasks - 1)
        with running_worker(site, "-c", str(options.concurrency)) as worker:
            return _run(worker, load.seconds_to_forget(connection, first, waiting, worker), options.tasks)


def _run(worker: Worker, seconds: float, tasks: int) -> Run:
    return Run(seconds, tasks / seconds, worker.pss_mb())
