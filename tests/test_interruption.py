"""How errors get into threads and coroutines, at every moment and never after the end."""

from __future__ import annotations

import asyncio
import contextvars
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from djqueue.exceptions import SoftTimeLimitExceeded
from djqueue.records import Claim
from djqueue.worker.engines import threads
from djqueue.worker.executor import Executor
from djqueue.worker.interruptible import Interrupted, Interruptible
from djqueue.worker.options import ExecutorOptions
from djqueue.worker.progress import ProgressPage

CLAIM = Claim("id", 1, "name", "[]", "{}", None, "default", 0, 0.0, 0.0)


def interrupted(coroutine: Any, error: type[BaseException] = SoftTimeLimitExceeded) -> Any:
    """Run a coroutine and raise an error in it as soon as it waits."""

    async def main() -> Any:
        loop = asyncio.get_running_loop()
        interruptible = Interruptible(coroutine)
        task = interruptible.start(loop, contextvars.copy_context())
        loop.call_later(0.01, interruptible.interrupt, error)
        value = await task
        return value, task.cancelling()

    return asyncio.run(main())


async def waits(what: Callable[[], Any]) -> str:
    try:
        await what()
    except SoftTimeLimitExceeded:
        await asyncio.sleep(0)  # it may wait again
        return "caught"
    return "in time"


async def in_timeout() -> None:
    async with asyncio.timeout(60):
        await asyncio.sleep(60)


async def in_task() -> None:
    await asyncio.create_task(asyncio.sleep(60))


async def in_gather() -> None:
    await asyncio.gather(asyncio.sleep(60), asyncio.sleep(60))


async def in_queue() -> None:
    await asyncio.Queue().get()


@pytest.mark.parametrize("what", [in_timeout, in_task, in_gather, in_queue, lambda: asyncio.sleep(60)])
def test_a_coroutine_gets_the_error_wherever_it_waits_and_is_not_cancelled(what: Callable[[], Any]) -> None:
    assert interrupted(waits(what)) == ("caught", 0)


def test_what_a_coroutine_waits_for_is_cancelled() -> None:
    ended: list[str] = []

    async def inner() -> None:
        try:
            await asyncio.sleep(60)
        except asyncio.CancelledError:
            ended.append("cancelled")
            raise

    async def outer() -> None:
        await asyncio.create_task(inner())

    assert interrupted(waits(outer)) == ("caught", 0)
    assert ended == ["cancelled"]


def test_an_error_that_is_not_caught_is_the_end() -> None:
    with pytest.raises(Interrupted):
        interrupted(asyncio.sleep(60), Interrupted)


def test_a_coroutine_that_has_ended_gets_nothing() -> None:
    assert interrupted(asyncio.sleep(0, "value")) == ("value", 0)


class Tug:
    """Attempts in one thread, while another tries to raise errors in them all the time."""

    def __init__(self) -> None:
        self.page = ProgressPage(1, 1)
        self.slot = threads.ThreadSlot(Executor(None, self.page, 0, ExecutorOptions("host", "threads")), 0)
        self.endings = {"in time": 0, "too late": 0, "interrupted": 0}
        self.escaped: list[BaseException] = []

    def attempt(self, claim: Claim, seat: Any) -> str:
        """Stands for the runner: user code between ``begin`` and ``end``, and work after that."""
        try:
            try:
                seat.begin(60.0, None)
                sum(range(2000))
                for _ in range(1000):
                    pass
            finally:
                seat.end()
        except SoftTimeLimitExceeded:
            seat.end()
            return "too late"
        for _ in range(300):
            pass  # no soft limit may be raised here
        return "in time"

    def work(self, seconds: float) -> None:
        until, serial = time.monotonic() + seconds, 0
        try:
            while time.monotonic() < until:
                serial += 1
                self.page.serials[0] = serial
                outcome = self.slot.run(serial, CLAIM)
                self.endings[outcome if isinstance(outcome, str) else "interrupted"] += 1
                self.page.serials[0] = 0
        except BaseException as error:
            self.escaped.append(error)

    def disturb(self, done: threading.Event) -> None:
        number = 0
        while not done.is_set():
            number += 1
            if number % 5:
                self.slot.limit(self.page.serials[0])
            else:
                self.slot.interrupt()


@pytest.fixture
def _hasty_switches() -> Iterator[None]:
    before = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    yield
    sys.setswitchinterval(before)


@pytest.mark.usefixtures("_hasty_switches")
def test_no_error_reaches_a_thread_after_the_end_of_what_it_was_meant_for(monkeypatch: pytest.MonkeyPatch) -> None:
    tug, done = Tug(), threading.Event()
    monkeypatch.setattr(threads, "run", tug.attempt)
    worker, disturber = threading.Thread(target=tug.work, args=(2,)), threading.Thread(target=tug.disturb, args=(done,))

    disturber.start()
    worker.start()
    worker.join(timeout=60)
    done.set()
    disturber.join(timeout=60)

    assert not worker.is_alive()
    assert tug.escaped == []
    assert tug.endings["in time"] > 0
    assert tug.endings["too late"] + tug.endings["interrupted"] > 0
