"""Starting a worker from a process that has Django set up."""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import traceback
from collections.abc import Callable
from typing import Any

from django.db import connections

from djqueue import registry, signals
from djqueue.beat.child import BeatChild

from . import forkserver
from .components import ComponentFailed
from .crew import page_for
from .engines import serve
from .executor import Executor, exit_now
from .health import HealthFailed, Pages, live, readiness, serving
from .options import WorkerOptions, refuse_what_tasks_need
from .progress import ProgressPage
from .spawners import ForkSpawner, SoloSpawner
from .worker import ExitCode, Worker


def run_worker(options: WorkerOptions, pages: Pages | None = None) -> ExitCode:
    """Be a worker until it is told to stop. Call it in the main thread. ``pages`` are served beside those of health.

    Raises ``forkserver.ForkServerFailed`` if the tasks cannot be loaded, ``options.PoolRefuses``, ``BeatFailed`` if the
    beat cannot start, ``components.ComponentFailed`` and ``health.HealthFailed``.
    """
    page = page_for(options)
    if options.pool == "solo":
        return _run_solo(options, page, pages or {})
    pid, connection, loaded = forkserver.start(page, options.executor)
    spawner = ForkSpawner(connection)
    beat = None
    try:
        beat = BeatChild(connection) if options.beat else None
        worker = Worker(options, spawner, page, loaded)
        return asyncio.run(_run(worker, beat, lambda: _install_signals(worker), pages or {}))
    finally:
        spawner.close()  # at which the fork server ends, and its executors
        os.waitpid(pid, 0)
        if beat is not None:
            beat.end()


def _run_solo(options: WorkerOptions, page: ProgressPage, pages: Pages) -> ExitCode:
    """Run tasks here in the main thread, where a debugger can stop, and the loop in another."""
    _load(options)
    beat = BeatChild() if options.beat else None
    spawner = SoloSpawner(options.name)
    worker = Worker(options, spawner, page, forkserver.loaded())
    ended = [ExitCode.CRASHED]
    failed: list[Exception] = []
    began, served = threading.Event(), threading.Event()

    def work() -> None:
        try:
            ended[0] = asyncio.run(_run(worker, beat, began.set, pages))
        except (ComponentFailed, HealthFailed) as error:
            failed.append(error)
        finally:
            began.set()
            spawner.close()
            if beat is not None:
                beat.end()
            if not served.wait(1.0):
                exit_now(ended[0])  # a task that did not heed its interruption; nobody waits for its outcome

    loop = threading.Thread(target=work, name="djqueue-loop")
    loop.start()
    began.wait()
    _install_signals(worker)
    while (connection := spawner.sockets.get()) is not None:
        executor = Executor(connection, page, 0, options.executor, alone=False)
        spawner.interrupt = executor.interrupt
        serve(executor)
    served.set()
    loop.join()
    spawner.bid_farewell()
    if failed:
        raise failed[0]
    return ended[0]


def _load(options: WorkerOptions) -> None:
    try:
        registry.load_all()
    except Exception:
        raise forkserver.ForkServerFailed(traceback.format_exc()) from None
    refuse_what_tasks_need(options.pool, map(registry.get, registry.names()))
    signals.worker_init.send(options.name)
    connections.close_all()


async def _run(worker: Worker, beat: BeatChild | None, ready: Callable[[], object], pages: Pages) -> ExitCode:
    worker.asyncio_loop = asyncio.get_running_loop()
    if beat is not None:
        beat.watch(worker.child_gone)
    ready()
    own: Pages = {"/live": live, "/ready": lambda: readiness(worker.unready())}
    async with serving(worker.options.health, {**own, **pages}):
        return await worker.run()


def _install_signals(worker: Worker) -> None:
    def stop(signum: int, frame: Any) -> None:
        if worker.asyncio_loop is not None and not worker.asyncio_loop.is_closed():
            worker.asyncio_loop.call_soon_threadsafe(worker.stop, signum)

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, stop)
