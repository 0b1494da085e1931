"""Running tasks that are called off: a pool with real executors, and no database behind it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from djqueue.records import Claim, Outcome
from djqueue.states import Ending
from djqueue.uuid7 import new_task_id
from djqueue.worker import forkserver
from djqueue.worker.crew import page_for
from djqueue.worker.options import WorkerOptions
from djqueue.worker.pool import Pool
from djqueue.worker.queues import QueueSelection
from djqueue.worker.spawners import ForkSpawner

from .worker_process import Notes

PATIENCE = 30.0
FOREVER = 60.0


class Rig:
    """A pool that runs, and what it says."""

    def __init__(self, pool: Pool, outcomes: dict[str, Outcome], file: Notes) -> None:
        self.pool = pool
        self.outcomes = outcomes
        self.file = file

    def add(self, task: str, *args: Any) -> str:
        task_id = str(new_task_id())
        name = f"tests.site.pool_tasks.{task}"
        text = json.dumps([self.file.path, *args])
        self.pool.add([Claim(task_id, 1, name, text, "{}", None, "default", 0, 0.0, 0.0)])
        return task_id

    async def until(self, condition: Callable[[], Any]) -> None:
        async with asyncio.timeout(PATIENCE):
            while not condition():  # noqa: ASYNC110 - of other processes
                await asyncio.sleep(0.01)

    async def begun(self, number: int) -> None:
        await self.until(lambda: self.file.texts().count("begun") >= number)

    async def ended(self, *ids: str) -> list[Outcome]:
        await self.until(lambda: all(task_id in self.outcomes for task_id in ids))
        return [self.outcomes[task_id] for task_id in ids]


def run_with_pool(file: Notes, options: WorkerOptions, test: Callable[[Rig], Any]) -> None:
    """Run a coroutine function with a pool of real executors."""
    page = page_for(options)
    pid, connection, _ = forkserver.start(page, options.executor)
    spawner = ForkSpawner(connection)
    outcomes: dict[str, Outcome] = {}

    async def main() -> None:
        pool = Pool(spawner, page, options, lambda ended: outcomes.update((o.id, o) for o in ended))
        spawner.on_spawned, spawner.on_exited = pool.crew.spawned, pool.crew.exited
        spawner.on_expired, spawner.on_gone = pool.expired, lambda: None
        spawner.watch()
        await pool.start()
        try:
            await test(Rig(pool, outcomes, file))
        finally:
            pool.stop()
            pool.kill()
            async with asyncio.timeout(PATIENCE):
                while any(executor.connected for executor in pool.crew):  # noqa: ASYNC110 - of other processes
                    await asyncio.sleep(0.01)
            spawner.unwatch()

    try:
        asyncio.run(main())
    finally:
        spawner.close()
        os.waitpid(pid, 0)


def options(pool: str, concurrency: int) -> WorkerOptions:
    return WorkerOptions(queues=QueueSelection(["*"], []), name="rig", pool=pool, concurrency=concurrency,
                         processes=concurrency if pool == "processes" else 1)  # fmt: skip


@pytest.fixture(autouse=True)
def _imports(settings: Any) -> None:
    settings.DJQUEUE = {**settings.DJQUEUE, "IMPORTS": ["tests.site.worker_tasks", "tests.site.pool_tasks"]}


def reason(outcome: Outcome) -> tuple[Ending, Any]:
    error = json.loads(outcome.error or "{}")
    return outcome.ending, (error.get("exc_type"), error.get("exc_message"))


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGKILL, signal.SIGUSR2])
def test_terminating_a_running_task_kills_it_and_the_others_go_back(file: Notes, pool: str, number: int) -> None:
    async def test(rig: Rig) -> None:
        culprit, other = rig.add("ignores_all", FOREVER), rig.add("sleeps_here", FOREVER)
        await rig.begun(2)

        rig.pool.terminate({culprit: number})

        (ended,) = await rig.ended(culprit)
        assert reason(ended) == (Ending.CANCELLED, ("TaskRevokedError", ["terminated"]))
        if pool == "processes":
            assert other not in rig.outcomes
        else:
            assert (await rig.ended(other))[0].ending == Ending.RELEASED
        after = rig.add("sleeps_here", 0)
        assert (await rig.ended(after))[0].ending == Ending.SUCCEEDED

    run_with_pool(file, options(pool, 2), test)


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
@pytest.mark.parametrize("verb", ["cancel", "terminate"])
def test_what_has_not_started_is_cancelled_without_running(file: Notes, pool: str, verb: str) -> None:
    async def test(rig: Rig) -> None:
        running = rig.add("sleeps_here", 1)
        await rig.begun(1)
        waiting = [rig.add("sleeps_here", 0) for _ in range(3)]

        called_off = waiting[:2]
        if verb == "cancel":
            rig.pool.cancel(called_off)
        else:
            rig.pool.terminate(dict.fromkeys(called_off, signal.SIGTERM))

        for ended in await rig.ended(*called_off):
            assert reason(ended) == (Ending.CANCELLED, ("TaskRevokedError", ["revoked"]))
        assert (await rig.ended(running))[0].ending == Ending.SUCCEEDED

    run_with_pool(file, options(pool, 1), test)


def test_what_waits_in_an_executor_behind_another_is_cancelled_without_running(file: Notes) -> None:
    async def test(rig: Rig) -> None:
        for _ in range(20):  # short runs teach the pool to send many at once
            rig.add("sleeps_here", 0)
        await rig.until(lambda: len(rig.outcomes) == 20)
        go_on = Path(file.path).with_suffix(".go-on")
        ids = [rig.add("sleeps_here", 0.3), *(rig.add("sleeps_here", 0) for _ in range(5))]

        rig.pool.cancel(ids[1:])

        endings = [outcome.ending for outcome in await rig.ended(*ids)]
        assert endings[0] == Ending.SUCCEEDED
        assert set(endings[1:]) <= {Ending.CANCELLED, Ending.SUCCEEDED}
        assert not go_on.exists()

    run_with_pool(file, options("processes", 1), test)


def test_cancelling_a_coroutine_cancels_it_where_it_waits(file: Notes) -> None:
    async def test(rig: Rig) -> None:
        task, other = rig.add("sleeps_there", FOREVER), rig.add("sleeps_there", 1)
        await rig.begun(2)

        rig.pool.cancel([task])

        (ended,) = await rig.ended(task)
        assert reason(ended) == (Ending.CANCELLED, ("TaskRevokedError", ["revoked"]))
        assert ended.started is not None
        assert file.texts()[2] == "CancelledError"
        assert (await rig.ended(other))[0].ending == Ending.SUCCEEDED

    run_with_pool(file, options("asyncio", 4), test)


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
def test_cancelling_a_plain_function_tells_it_so(file: Notes, pool: str) -> None:
    async def test(rig: Rig) -> None:
        task = rig.add("waits_for_abort")
        await rig.begun(1)

        rig.pool.cancel([task])

        (ended,) = await rig.ended(task)
        assert (ended.ending, ended.value) == (Ending.SUCCEEDED, '"heard"')

    run_with_pool(file, options(pool, 1), test)


def test_calling_off_what_is_not_here_does_nothing(file: Notes) -> None:
    async def test(rig: Rig) -> None:
        unknown = str(new_task_id())
        rig.pool.cancel([unknown])
        rig.pool.terminate({unknown: signal.SIGTERM})

        task = rig.add("sleeps_here", 0)

        await rig.ended(task)
        assert rig.outcomes.keys() == {task}

    run_with_pool(file, options("processes", 1), test)
