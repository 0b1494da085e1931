"""Engines: how an executor runs what it is sent, one for each pool."""

from __future__ import annotations

import os
from collections.abc import Callable

from django.db import close_old_connections

from djqueue import signals
from djqueue.worker.executor import Engine, Executor
from djqueue.worker.task_logs import capture

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
    signals.worker_process_init.send(None)
    capture()
    close_old_connections()
    try:
        ENGINES[executor.options.pool](executor).serve()
    finally:
        signals.worker_process_shutdown.send(None, pid=os.getpid(), exitcode=0)
