"""How long ``delay().get()`` takes with an idle worker, one call after the other."""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.lab.figures import spread
from benchmarks.lab.site import Site
from benchmarks.lab.workers import await_ready, running_worker
from benchmarks.tasks import noop

WARM_UP = 20
TIMEOUT = 30


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=200, metavar="N", help="calls (200)")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with running_worker(site, "-c", str(options.concurrency)) as worker:
        await_ready(site, worker)
        for _ in range(WARM_UP):
            _round_trip()
        return {"tasks": options.tasks, **spread([_round_trip() for _ in range(options.tasks)])}


def _round_trip() -> float:
    began = time.perf_counter()
    noop.delay().get(timeout=TIMEOUT)
    return time.perf_counter() - began
