"""The machine and the versions a figure belongs to, and how much of the machine others used meanwhile."""

from __future__ import annotations

import os
import platform
import time
from typing import Any

import django
import psutil
import psycopg

import djqueue

from .processes import cpu_s
from .site import Site


class Bystanders:
    """Measures how many cores were used by processes that do not belong to the benchmark."""

    def __init__(self, site: Site) -> None:
        self._ours = (os.getpid(), site.server_pid)
        self._began = time.monotonic()
        self._before = self._foreign_s()
        self.load_before = os.getloadavg()[0]

    def cores(self) -> float:
        return max(0.0, self._foreign_s() - self._before) / (time.monotonic() - self._began)

    def _foreign_s(self) -> float:
        times = psutil.cpu_times()
        busy = times.user + times.nice + times.system + times.irq + times.softirq + times.steal
        return busy - sum(cpu_s(pid) for pid in self._ours)


def describe(bystanders: Bystanders) -> dict[str, Any]:
    return {
        "cpus": len(os.sched_getaffinity(0)),
        "memory_gb": round(psutil.virtual_memory().total / 2**30, 1),
        "platform": platform.platform(),
        "load_before": round(bystanders.load_before, 2),
        "cores_used_by_others": round(bystanders.cores(), 2),
    }


def versions(site: Site) -> dict[str, str]:
    with site.connect() as connection:
        postgresql = connection.execute("SHOW server_version").fetchone()[0]
    return {
        "python": platform.python_version(),
        "django": django.get_version(),
        "psycopg": f"{psycopg.__version__} ({psycopg.pq.__impl__})",
        "postgresql": postgresql,
        "djqueue": djqueue.__version__,
    }
