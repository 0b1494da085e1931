"""How fast the pools for tasks that mostly wait get through such tasks, each in one executor.

Measured from the start of the first body to the last row settled in the store, not counting the start of the worker.
"""

from __future__ import annotations

import argparse
from importlib.util import find_spec
from typing import Any

from benchmarks.lab import load
from benchmarks.lab.figures import median, say
from benchmarks.lab.site import Site
from benchmarks.lab.workers import running_worker
from benchmarks.tasks import pause, pause_async
from djqueue.definition import TaskDefinition


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=2000, metavar="N", help="tasks in line (2,000)")
    parser.add_argument("--pause", type=float, default=0.05, metavar="SECONDS", help="what each waits (0.05)")
    parser.add_argument("--coroutines", type=int, default=1000, metavar="N", help="at once with asyncio (1,000)")
    parser.add_argument("--concurrency", type=int, default=50, metavar="N", help="at once with the others (50)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    pools: dict[str, tuple[TaskDefinition, int]] = {
        "asyncio": (pause_async, options.coroutines),
        "threads": (pause, options.concurrency),
        "gevent": (pause, options.concurrency),
    }
    if find_spec("gevent") is None:
        say("gevent is not installed: its figure is left out")
        del pools["gevent"]
    runs: dict[str, list[float]] = {}
    for pool, (task, slots) in pools.items():
        for number in range(options.repeat):
            seconds = _run(site, pool, task, slots, options.tasks, options.pause)
            runs.setdefault(f"{pool}_s", []).append(round(seconds, 3))
            say(f"io {number + 1}/{options.repeat}, {pool} with {slots}: {seconds:.3f} s")
    long = [_run(site, "asyncio", pause_async, 1000, 1000, 1.0) for _ in range(options.repeat)]
    return {
        "tasks": options.tasks,
        "pause_s": options.pause,
        **{name: median(seconds) for name, seconds in runs.items()},
        "thousand_seconds_at_once_s": round(median(long), 3),
        **{f"runs_{name}": seconds for name, seconds in runs.items()},
    }


def _run(site: Site, pool: str, task: TaskDefinition, slots: int, tasks: int, seconds: float) -> float:
    with site.connect() as connection:
        load.empty(connection)
        waiting = load.enqueue(task, tasks, seconds)
        with running_worker(site, "-P", pool, "-c", str(slots)) as worker:
            return load.seconds_to_settle(connection, waiting, worker)
