"""Engines: how an executor runs what it is sent, one for each pool."""

from __future__ import annotations

from collections.abc import Callable

from djqueue.worker.executor import Engine, Executor

from .coroutines import CoroutineEngine
from .greenlets import GreenletEngine
from .serial import SerialEngine
from .threads import ThreadEngine

ENGINES: dict[str, Callable[[Executor], Engine]] = {
    "processes": SerialEngine,
    "threads": ThreadEngine,
    "asyncio": CoroutineEngine,
    "gevent": GreenletEngine,
    "solo": SerialEngine,
}


def serve(executor: Executor) -> None:
    """Run what an executor is sent, until its worker says stop. Call it in the main thread."""
    ENGINES[executor.options.pool](executor).serve()
