"""How fast a worker gets through the header of a chord, compared with as many tasks that nothing waits for.

Measured as ``drain``: from the start of the first body to the last row settled, here the chord's body.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

from benchmarks.drain import _stored
from benchmarks.lab import load
from benchmarks.lab.figures import median, say
from benchmarks.lab.site import Site
from benchmarks.lab.workers import running_worker
from benchmarks.tasks import noop, number_of
from djqueue import chord

TIMEOUT = 120
SPAN = """
SELECT extract(epoch FROM max(finished_at) - min(started_at))::double precision FROM djqueue_taskresult
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=10_000, metavar="N", help="members of the header (10,000)")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    chords, drains, inserts = [], [], []
    for number in range(options.repeat):
        drains.append(_stored(site, options).tasks_per_s)
        with site.connect() as connection:
            load.empty(connection)
            began = time.perf_counter()
            result = chord([noop.si() for _ in range(options.tasks)], number_of.s()).apply_async()
            inserts.append(time.perf_counter() - began)
            with running_worker(site, "-c", str(options.concurrency)):
                if (got := result.get(timeout=TIMEOUT)) != options.tasks:
                    raise RuntimeError(f"expected the body to get {options.tasks} values, got: {got}")
            row = connection.execute(SPAN).fetchone()
            chords.append(options.tasks / row[0])
        say(f"chord {number + 1}/{options.repeat}: {chords[-1]:,.0f} tasks/s, drain {drains[-1]:,.0f} tasks/s")
    return {
        "tasks": options.tasks,
        "tasks_per_s": round(median(chords)),
        "share_of_drain": round(median(c / d for c, d in zip(chords, drains, strict=True)), 2),
        "insert_s": round(median(inserts), 3),
        "runs_tasks_per_s": [round(rate) for rate in chords],
        "runs_drain_tasks_per_s": [round(rate) for rate in drains],
    }
