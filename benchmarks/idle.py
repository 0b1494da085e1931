"""What a worker with nothing to do costs in the demo project: CPU, statements, transactions and memory.

The private server logs every statement with the name of its client and its virtual transaction; what workers
sent is counted in that log.
"""

from __future__ import annotations

import argparse
import re
import time
from collections import Counter
from typing import Any

from benchmarks.lab.figures import say
from benchmarks.lab.processes import cpu_s, pss_mb_each
from benchmarks.lab.site import Site
from benchmarks.lab.workers import await_ready, running_worker
from benchmarks.tasks import noop

CALM_DOWN = 5.0
"""Seconds from the last task until the pauses between two looks at the queue are at their longest."""
LOG_EVERYTHING = {"log_statement": "all", "log_line_prefix": "client=%a|%v|"}
# The server indents the lines of a statement by a tab, except for its first, which here is often empty.
STATEMENT_OF_WORKER = re.compile(
    r"^client=djqueue [^|]*\|(?P<transaction>[^|]*)\|LOG:  (?:statement|execute [^:]*): *\n?\t?(?P<beginning>.*)",
    re.MULTILINE,
)


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--seconds", type=float, default=30, metavar="N", help="how long to watch (30)")
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection:
        site.configure(connection, LOG_EVERYTHING)
    with running_worker(site, "-c", str(options.concurrency)) as worker:
        await_ready(site, worker)
        noop.delay().get(timeout=30)
        time.sleep(CALM_DOWN)
        say(f"watching an idle worker for {options.seconds:g} s")
        return _watch(site, worker.pid, options.seconds)


def _watch(site: Site, pid: int, seconds: float) -> dict[str, Any]:
    log_size = site.server_log.stat().st_size
    used, began = cpu_s(pid), time.monotonic()
    time.sleep(seconds)
    used, elapsed = cpu_s(pid) - used, time.monotonic() - began
    statements = _statements(site, log_size)
    memory = [round(pss, 1) for pss in pss_mb_each(pid)]
    return {
        "cpu_s_per_min": round(used / elapsed * 60, 3),
        "core_percent": round(used / elapsed * 100, 2),
        "statements_per_s": round(len(statements) / elapsed, 2),
        "transactions_per_s": round(len({found["transaction"] for found in statements}) / elapsed, 2),
        "pss_mb": round(sum(memory), 1),
        "processes": len(memory),
        "seconds": round(elapsed, 1),
        "pss_mb_by_process": memory,
        "statements": dict(Counter(found["beginning"][:60] for found in statements).most_common()),
    }


def _statements(site: Site, log_size: int) -> list[re.Match[str]]:
    """Return the statements that workers have sent since the log had this size."""
    with site.server_log.open(errors="replace") as log:
        log.seek(log_size)
        return list(STATEMENT_OF_WORKER.finditer(log.read()))
