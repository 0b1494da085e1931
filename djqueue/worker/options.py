"""What a worker was asked to be."""

from __future__ import annotations

import math
import os
import re
import socket
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, NamedTuple

from djqueue.calls import check_limit

from .health import Address
from .queues import QueueSelection

POOLS = {"processes": 0, "threads": 10, "asyncio": 100, "gevent": 100, "solo": 1}
"""The pools, and how many slots an executor has in each unless told; 0 is one per core."""
IN_THE_WORKER = "it runs tasks in the worker itself, which cannot be killed"
CANNOT = {
    "solo": {
        "time_limit": IN_THE_WORKER,
        "max_tasks_per_child": IN_THE_WORKER,
        "max_memory_per_child": IN_THE_WORKER,
    }
}
"""What pools cannot do: options of workers and definitions, and why."""
CONCURRENCY_MOST = 1024
GROWS_TO = 64
"""Executors up to which a pool can grow that was not asked for more at its start."""
SLOTS_MOST = 10_000


class PoolRefuses(Exception):
    """The pool cannot honour something that a task asks for; the message names both."""


class ExecutorOptions(NamedTuple):
    """What executors need to know; times are in seconds. ``weighs``: whether they say how much memory they take."""

    hostname: str
    pool: str
    slots: int = 1
    time_limit: float | None = None
    soft_time_limit: float | None = None
    weighs: bool = False


class Bounds(NamedTuple):
    """The least and the most executors, between which a pool scales by itself."""

    least: int
    most: int

    def __str__(self) -> str:
        return f"{self.most},{self.least}"


class WorkerFacts(NamedTuple):
    """What a component is told of its worker."""

    name: str
    queues: str
    pool: str
    processes: int
    concurrency: int


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
    beat: bool = False
    autoscale: Bounds | None = None
    health: Address | None = None
    given: tuple[str, ...] = ()
    """Values that are not defaults, each with where it comes from, to be shown."""

    @property
    def slots(self) -> int:
        """Tasks that an executor runs at once."""
        return 1 if self.pool == "processes" else self.concurrency

    @property
    def facts(self) -> WorkerFacts:
        return WorkerFacts(self.name, str(self.queues), self.pool, self.processes, self.concurrency)

    @property
    def most_processes(self) -> int:
        """Executors that the pool can have at the most, if it grows."""
        return 1 if self.pool == "solo" else max(self.processes, GROWS_TO, *(self.autoscale or ()))

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


def worker_name(template: str, source: str = "--name") -> str:
    """Return a worker's name: ``%h`` is the host, ``%n`` its first label, ``%d`` the rest, ``%i`` the process id.

    A name without ``@`` gets the host appended, as Celery's have. Raises ``ValueError`` for other ``%`` sequences.
    """
    host = socket.gethostname()
    label, _, domain = host.partition(".")
    known = {"%h": host, "%n": label, "%d": domain, "%i": str(os.getpid()), "%%": "%"}

    def expand(match: re.Match[str]) -> str:
        if match[0] not in known:
            raise ValueError(f"expected {source} to use only %h, %n, %d, %i and %%, got: {match[0]!r} in {template!r}")
        return known[match[0]]

    name = re.sub(r"%.?", expand, template)
    if not name.strip():
        raise ValueError(f"expected {source} to give the worker a name, got: {template!r}")
    return name if "@" in name else f"{name}@{host}"


def concurrency(asked: int | None, source: str, pool: str) -> int:
    """Return the number of slots in an executor, or of executors on the pool ``processes``; None asks for the usual.

    Raises ``ValueError`` for a number that the pool cannot have.
    """
    if pool == "solo" and asked not in (None, 1) and source.startswith("-"):
        raise ValueError(f"expected {source} 1 with --pool solo, got: {asked}")
    if pool == "solo":
        return 1  # a debugger's pool takes a setting that is meant for real ones for what it is
    most = CONCURRENCY_MOST if pool == "processes" else SLOTS_MOST
    number = POOLS[pool] or cores() if asked is None else asked
    if not 1 <= number <= most:
        raise ValueError(f"expected {source} to be 1 to {most} with --pool {pool}, got: {number}")
    return number


def processes(asked: int | None, source: str, pool: str, concurrency: int) -> int:
    """Return the number of executors. Raises ``ValueError`` for a number that the pool cannot have."""
    if pool in ("processes", "solo"):
        if asked is not None and asked != concurrency:
            raise ValueError(
                f"expected no {source} with --pool {pool}, where --concurrency is the number of executors, got: {asked}"
            )
        return concurrency
    number = 1 if asked is None else asked
    if not 1 <= number <= CONCURRENCY_MOST:
        raise ValueError(f"expected {source} to be 1 to {CONCURRENCY_MOST}, got: {number}")
    return number


def autoscale(asked: Bounds | None, source: str, pool: str) -> Bounds | None:
    """Return the bounds as asked. Raises ``ValueError`` for bounds that the pool cannot have."""
    if asked is None:
        return None
    least, most = asked
    if pool == "solo":
        raise ValueError(f"--pool solo cannot honour {source} ({asked}): it has one executor, the worker itself")
    if not 1 <= least <= most <= CONCURRENCY_MOST:
        raise ValueError(
            f"expected {source} to be MAX,MIN with 1 to {CONCURRENCY_MOST} executors, MIN at most MAX, got: {asked}"
        )
    return asked


def check_start(number: int, bounds: Bounds | None, source: str) -> None:
    """Raise ``ValueError`` if the pool would begin with a number of executors outside of its bounds."""
    if bounds is not None and not bounds.least <= number <= bounds.most:
        raise ValueError(f"expected {source} to be {bounds.least} to {bounds.most} with --autoscale, got: {number}")


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def drain_timeout(asked: float | None, source: str) -> float | None:
    """Return the seconds as asked. Raises ``ValueError`` for a number that is no duration."""
    if asked is None or asked == math.inf:
        return None
    if not asked >= 0:
        raise ValueError(f"expected {source} to be a number of seconds, 0 or more, got: {asked:g}")
    return asked


def aging(asked: float | None, source: str) -> float | None:
    """Return the seconds as asked; infinity is for none. Raises ``ValueError`` for what is no duration above 0."""
    return _limit(asked, source)


def limits(hard: tuple[float | None, str], soft: tuple[float | None, str]) -> tuple[float | None, float | None]:
    """Return the hard and the soft time limit, each asked for as a pair of seconds and source.

    Raises ``ValueError`` if they make no sense.
    """
    most, least = _limit(*hard), _limit(*soft)
    if most is not None and least is not None and least > most:
        raise ValueError(f"expected {soft[1]} to be at most {hard[1]} ({most:g} s), got: {least:g}")
    return most, least


def _limit(asked: float | None, source: str) -> float | None:
    return None if asked == math.inf else check_limit(source, asked)


def most(asked: int | None, source: str) -> int | None:
    """Return a number as asked. Raises ``ValueError`` unless it is 1 or more."""
    if asked is not None and asked < 1:
        raise ValueError(f"expected {source} to be 1 or more, got: {asked}")
    return asked


def refuse_what_cannot_be(asked: WorkerOptions, sources: Mapping[str, str]) -> None:
    """Raise ``ValueError`` if the pool cannot honour an option; ``sources`` are by name of the setting."""
    if asked.pool == "gevent" and find_spec("gevent") is None:
        raise ValueError("--pool gevent needs gevent: pip install 'django-djqueue[gevent]'")
    if asked.pool == "gevent" and "DJANGO_SETTINGS_MODULE" not in os.environ:
        raise ValueError("--pool gevent loads the site anew, by the DJANGO_SETTINGS_MODULE of the environment: not set")
    for option, why in CANNOT.get(asked.pool, {}).items():
        if (value := getattr(asked, option)) is not None:
            source = sources[option.upper()]
            raise ValueError(f"--pool {asked.pool} cannot honour {source} ({value:g}): {why}")


def refuse_what_tasks_need(pool: str, definitions: Iterable[Any]) -> None:
    """Raise ``PoolRefuses`` if the pool cannot honour an option of a definition."""
    for definition in definitions:
        for option, why in CANNOT.get(pool, {}).items():
            if (value := getattr(definition, option, None)) is not None:
                raise PoolRefuses(f"--pool {pool} cannot honour {option}={value:g} of task {definition.name}: {why}")
