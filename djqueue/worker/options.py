"""What a worker was asked to be."""

from __future__ import annotations

import math
import os
import re
import socket
from dataclasses import dataclass
from typing import NamedTuple

from djqueue.calls import check_limit

from .queues import QueueSelection

POOLS = {"processes": 0, "threads": 10, "asyncio": 100, "gevent": 100, "solo": 1}
"""The pools, and how many slots an executor has in each unless told; 0 is one per core."""
CONCURRENCY_MOST = 1024
SLOTS_MOST = 10_000


class ExecutorOptions(NamedTuple):
    """What executors need to know; times are in seconds. ``weighs``: whether they say how much memory they take."""

    hostname: str
    pool: str
    slots: int = 1
    time_limit: float | None = None
    soft_time_limit: float | None = None
    weighs: bool = False


@dataclass(frozen=True, slots=True)
class WorkerOptions:
    """The options of ``runworker``, checked. Times are in seconds, memory in KiB; None is for no limit.

    ``concurrency`` is the number of slots in each of ``processes`` executors; on the pool ``processes``, where an
    executor has one slot, it is the number of executors itself.
    """

    queues: QueueSelection
    name: str
    pool: str = "processes"
    concurrency: int = 1
    processes: int = 1
    burst: bool = False
    drain_timeout: float | None = None
    time_limit: float | None = None
    soft_time_limit: float | None = None
    max_tasks_per_child: int | None = None
    max_memory_per_child: int | None = None

    @property
    def slots(self) -> int:
        """Tasks that an executor runs at once."""
        return 1 if self.pool == "processes" else self.concurrency

    @property
    def executor(self) -> ExecutorOptions:
        """What executors need to know of it."""
        return ExecutorOptions(
            hostname=self.name,
            pool=self.pool,
            slots=self.slots,
            time_limit=self.time_limit,
            soft_time_limit=self.soft_time_limit,
            weighs=self.max_memory_per_child is not None,
        )


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
    """Return the number of slots in an executor, or of executors on the pool ``processes``; None asks for the usual.

    Raises ``ValueError`` for a number that the pool cannot have.
    """
    if pool == "solo" and asked not in (None, 0, 1):
        raise ValueError(f"expected --concurrency 1 with --pool solo, got: {asked}")
    most = CONCURRENCY_MOST if pool == "processes" else SLOTS_MOST
    number = POOLS[pool] or cores() if asked is None else asked
    if not 1 <= number <= most:
        raise ValueError(f"expected --concurrency to be 1 to {most} with --pool {pool}, got: {number}")
    return number


def processes(asked: int | None, pool: str, concurrency: int) -> int:
    """Return the number of executors. Raises ``ValueError`` for a number that the pool cannot have."""
    if pool in ("processes", "solo"):
        number = concurrency if asked is None else asked
        if number != concurrency:
            raise ValueError(f"expected no --processes with --pool {pool}, whose --concurrency it is, got: {asked}")
        return number
    number = 1 if asked is None else asked
    if not 1 <= number <= CONCURRENCY_MOST:
        raise ValueError(f"expected --processes to be 1 to {CONCURRENCY_MOST}, got: {number}")
    return number


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def drain_timeout(asked: float | None) -> float | None:
    """Return the seconds as asked. Raises ``ValueError`` for a number that is no duration."""
    if asked is not None and not 0 <= asked < math.inf:
        raise ValueError(f"expected --drain-timeout to be a number of seconds, 0 or more, got: {asked:g}")
    return asked


def limits(hard: float | None, soft: float | None) -> dict[str, float | None]:
    """Return ``time_limit`` and ``soft_time_limit`` as asked. Raises ``ValueError`` if they make no sense."""
    check_limit("--time-limit", hard)
    check_limit("--soft-time-limit", soft)
    if hard is not None and soft is not None and soft > hard:
        raise ValueError(f"expected --soft-time-limit to be at most --time-limit ({hard:g} s), got: {soft:g}")
    return {"time_limit": hard, "soft_time_limit": soft}


def most(option: str, asked: int | None) -> int | None:
    """Return a number as asked. Raises ``ValueError`` unless it is 1 or more."""
    if asked is not None and asked < 1:
        raise ValueError(f"expected {option} to be 1 or more, got: {asked}")
    return asked
