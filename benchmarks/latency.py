"""How long an idle worker takes to start a task: from the call of ``delay`` to the body, one task each 50 ms.

Both moments are read from the monotonic clock that all processes of a machine share: the task gets the moment
of the call as its argument and returns how long ago that was.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.lab.figures import ms, percentile, spread
from benchmarks.lab.site import Site
from benchmarks.lab.workers import await_ready, running_worker
from benchmarks.tasks import stamp
from djqueue import AsyncResult

WARM_UP = 20
TIMEOUT = 30


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=200, metavar="N", help="tasks (200)")
    parser.add_argument("--every", type=float, default=0.05, metavar="SECONDS", help="pace (0.05)")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with running_worker(site, "-c", str(options.concurrency)) as worker:
        await_ready(site, worker)
        _paced(WARM_UP, options.every)
        results, calls = _paced(options.tasks, options.every)
    waits = [result.get(timeout=TIMEOUT) for result in results]
    returned_to_start = [wait - call for wait, call in zip(waits, calls, strict=True)]
    return {
        "tasks": options.tasks,
        **spread(waits),
        "call_p50_ms": ms(percentile(calls, 50)),
        "call_p99_ms": ms(percentile(calls, 99)),
        "after_call_p50_ms": ms(percentile(returned_to_start, 50)),
    }


def _paced(tasks: int, every: float) -> tuple[list[AsyncResult], list[float]]:
    """Enqueue at a steady pace and wait for the last; return the results and how long each call took."""
    results, calls = [], []
    due = time.monotonic()
    for _ in range(tasks):
        time.sleep(max(0.0, due - time.monotonic()))
        due += every
        called = time.monotonic()
        results.append(stamp.delay(called))
        calls.append(time.monotonic() - called)
    results[-1].get(timeout=TIMEOUT)
    return results, calls
