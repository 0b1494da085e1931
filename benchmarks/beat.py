"""How late a beat fires: from a slot to the transaction that fires it, with many schedules due each second.

Lateness is read from the notes that a beat leaves in its transaction, a moment before it commits. Then many schedules
are due at one moment, once: that is measured from outside, from the moment until the last of their tasks can be seen.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import Any

from benchmarks.lab.figures import say, spread
from benchmarks.lab.processes import cpu_s, pss_mb
from benchmarks.lab.site import Site
from benchmarks.lab.workers import CHECKOUT

WARM_UP = 2
"""Seconds of slots that are not counted: the first ones pay for connections and plans."""
LATENESS = """
SELECT extract(epoch FROM fired_at - due_at)::double precision
FROM djqueue_schedulerun WHERE fate = 1 AND due_at >= %s
"""
NOW = "SELECT clock_timestamp()"


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--schedules", type=int, default=50, metavar="N", help="schedules due each second (50)")
    parser.add_argument("--seconds", type=float, default=20, metavar="N", help="how long to watch (20)")
    parser.add_argument("--at-once", type=int, default=2000, metavar="N", help="schedules due at one moment (2000)")
    parser.add_argument("--idle", type=int, default=10_000, metavar="N", help="schedules that are not due (10000)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    from djqueue.models import Schedule

    add_idle(options.idle)
    with running_beat(site) as beat, site.connect() as connection:
        say(f"watching {options.schedules} schedules each second for {options.seconds:g} s")
        first = connection.execute(NOW).fetchone()[0].replace(microsecond=0) + timedelta(seconds=2)
        add(options.schedules, every=timedelta(seconds=1), start_at=first)
        _wait_until(connection, first + timedelta(seconds=WARM_UP))
        used, began = cpu_s(beat.pid), time.monotonic()
        _wait_until(connection, first + timedelta(seconds=WARM_UP + options.seconds))
        used, elapsed = cpu_s(beat.pid) - used, time.monotonic() - began
        Schedule.objects.filter(every=timedelta(seconds=1)).disable()
        late = [row[0] for row in connection.execute(LATENESS, [first + timedelta(seconds=WARM_UP)])]
        figures = {"slots": len(late), **spread(late), "core_percent": round(used / elapsed * 100, 1)}
        figures["pss_mb"] = round(pss_mb(beat.pid), 1)
        say(f"{options.at_once} schedules due at one moment")
        figures["at_once"] = options.at_once
        figures["at_once_s"] = round(_at_once(connection, options.at_once), 3)
    return figures


def add(number: int, **values: Any) -> None:
    """Insert schedules of a task that nobody runs, as rows alike."""
    from djqueue.models import Schedule

    prefix = time.monotonic_ns()
    first = Schedule(name=f"{prefix}", task="benchmarks.tasks.noop", kind="interval", **values)
    first.save()
    given = {f.attname: getattr(first, f.attname) for f in Schedule._meta.concrete_fields if not f.primary_key}
    rows = [Schedule(**{**given, "name": f"{prefix}-{place}"}) for place in range(1, number)]
    Schedule.objects.bulk_create(rows, batch_size=1000)


def add_idle(number: int) -> None:
    if number:
        add(number, every=timedelta(days=30))


def _at_once(connection: Any, number: int) -> float:
    """Return the seconds from the moment at which all are due until all of their tasks are there."""
    before = connection.execute("SELECT count(*) FROM djqueue_task").fetchone()[0]
    moment = connection.execute(NOW).fetchone()[0] + timedelta(seconds=5)
    add(number, every=timedelta(days=1), start_at=moment)
    while True:
        count, now = connection.execute("SELECT count(*), clock_timestamp() FROM djqueue_task").fetchone()
        if count - before >= number:
            return float((now - moment).total_seconds())
        if now > moment + timedelta(seconds=60):
            raise RuntimeError(f"expected {number} tasks within a minute, found {count - before}")
        time.sleep(0.01)


def _wait_until(connection: Any, moment: datetime) -> None:
    now = connection.execute(NOW).fetchone()[0]
    time.sleep(max(0.0, (moment - now).total_seconds()))


@contextmanager
def running_beat(site: Site) -> Iterator[subprocess.Popen[bytes]]:
    """Run one beat; its log goes to a file of the site's directory."""
    log = site.directory / "beat.log"
    command = [sys.executable, "-m", "django", "runbeat", "--loglevel", "INFO"]
    with log.open("wb") as output:
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        deadline = time.monotonic() + 30
        while b"beat ready" not in log.read_bytes():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"expected the beat to be ready, it said:\n{log.read_text(errors='replace')}")
            time.sleep(0.05)
        yield process
    finally:
        process.terminate()
        process.wait(30)
