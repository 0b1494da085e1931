"""Workers: real ``runworker`` processes, stopped whatever way the benchmark ends."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from .processes import pss_mb
from .site import Site

CHECKOUT = Path(__file__).resolve().parent.parent.parent
START_SECONDS = 30
STOP_SECONDS = 30
LOG_TAIL = 2000


class Worker:
    """A worker that runs."""

    def __init__(self, process: subprocess.Popen[bytes], log: Path) -> None:
        self.process = process
        self.pid = process.pid
        self._log = log

    def check(self) -> None:
        """Raise ``RuntimeError`` with the end of its log if the worker has ended."""
        if self.process.poll() is not None:
            said = self._log.read_text(errors="replace")[-LOG_TAIL:]
            raise RuntimeError(f"the worker ended with exit code {self.process.returncode}; it said:\n{said}")

    def pss_mb(self) -> float:
        return pss_mb(self.pid)


@contextmanager
def running_worker(site: Site, *arguments: str, loglevel: str = "WARNING") -> Iterator[Worker]:
    """Run ``runworker`` with these arguments; its log goes to a file of the site's directory."""
    command = [sys.executable, "-m", "django", "runworker", "--loglevel", loglevel, *arguments]
    log = site.directory / "worker.log"
    with log.open("wb") as output:
        # A process group of its own: Ctrl-C leaves its end to us, and we can end all of it.
        process = subprocess.Popen(
            command, cwd=CHECKOUT, stdin=subprocess.DEVNULL, stdout=output, stderr=output, process_group=0
        )
    try:
        yield Worker(process, log)
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    try:
        with suppress(subprocess.TimeoutExpired):
            process.terminate()
            process.wait(STOP_SECONDS)
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def await_ready(site: Site, worker: Worker, number: int = 1) -> None:
    """Wait until the worker has registered itself, the last of so many."""
    deadline = time.monotonic() + START_SECONDS
    with site.connect() as connection:
        while not connection.execute("SELECT count(*) FROM djqueue_worker").fetchone()[0] < number:
            worker.check()
            if time.monotonic() > deadline:
                raise RuntimeError(f"expected the worker to be ready within {START_SECONDS} s; it is not")
            time.sleep(0.05)
