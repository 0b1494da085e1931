"""What a worker was asked to be."""

from __future__ import annotations

import math
import os
import re
import socket
from dataclasses import dataclass

from djqueue.conf import settings

from .queues import QueueSelection

POOLS = ("processes", "solo")
CONCURRENCY_MOST = 1024


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of ``runworker``, checked; ``drain_timeout`` is in seconds, None waits for ever."""

    queues: QueueSelection
    name: str
    pool: str = "processes"
    concurrency: int = 1
    burst: bool = False
    drain_timeout: float | None = None
    beat: bool = False


def worker_name(template: str) -> str:
    """Return a worker's name: ``%h`` is the host, ``%n`` its first label, ``%d`` the rest, ``%i`` the process id.

    A name without ``@`` gets the host appended, as Celery's have. Raises ``ValueError`` for other ``%`` sequences.
    """
    host = socket.gethostname()
    label, _, domain = host.partition(".")
    known = {"%h": host, "%n": label, "%d": domain, "%i": str(os.getpid()), "%%": "%"}

    def expand(match: re.Match[str]) -> str:
        if match[0] not in known:
            raise ValueError(f"expected -n to use only %h, %n, %d, %i and %%, got: {match[0]!r} in {template!r}")
        return known[match[0]]

    name = re.sub(r"%.?", expand, template)
    if not name.strip():
        raise ValueError(f"expected -n to give the worker a name, got: {template!r}")
    return name if "@" in name else f"{name}@{host}"


def concurrency(asked: int | None, pool: str) -> int:
    """Return the number of executors: as asked, else as the settings say, else one per core. Solo has one."""
    number = settings.CONCURRENCY if asked is None else asked
    if pool == "solo":
        if asked not in (None, 1):
            raise ValueError(f"expected --concurrency 1 with --pool solo, got: {asked}")
        return 1
    if number == 0 and asked is None:
        return max(1, len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    if not 1 <= number <= CONCURRENCY_MOST:
        raise ValueError(f"expected --concurrency to be 1 to {CONCURRENCY_MOST}, got: {number}")
    return number


def drain_timeout(asked: float | None) -> float | None:
    """Return the seconds as asked. Raises ``ValueError`` for a number that is no duration."""
    if asked is not None and not 0 <= asked < math.inf:
        raise ValueError(f"expected --drain-timeout to be a number of seconds, 0 or more, got: {asked:g}")
    return asked
