"""How many steps a second a chain makes, end to end: each step is settled before the next can start."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.lab import load
from benchmarks.lab.figures import median, say
from benchmarks.lab.site import Site
from benchmarks.lab.workers import await_ready, running_worker
from benchmarks.tasks import noop
from djqueue import chain

TIMEOUT = 120


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--steps", type=int, default=1000, metavar="N", help="steps (1,000)")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    rates, inserts = [], []
    with running_worker(site, "-c", str(options.concurrency)) as worker:
        await_ready(site, worker)
        for number in range(options.repeat):
            with site.connect() as connection:
                load.empty(connection)
            whole = chain(noop.si() for _ in range(options.steps))
            began = time.perf_counter()
            result = whole.apply_async()
            inserts.append(time.perf_counter() - began)
            result.get(timeout=TIMEOUT)
            rates.append(options.steps / (time.perf_counter() - began))
            say(f"chain {number + 1}/{options.repeat}: {rates[-1]:,.0f} steps/s")
    return {
        "steps": options.steps,
        "steps_per_s": round(median(rates)),
        "insert_s": round(median(inserts), 3),
        "runs_steps_per_s": [round(rate) for rate in rates],
    }
