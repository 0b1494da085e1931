"""Components for the tests: they leave notes in the file that the environment names."""

from __future__ import annotations

import asyncio
import os
import time
from typing import Any

from djqueue import events
from djqueue.worker.components import Component

from .worker_tasks import note


def write(*words: object) -> None:
    note(os.environ["COMPONENT_NOTES"], *words)


class Noted(Component):
    async def start(self) -> None:
        write("start", type(self).__name__, self.worker.name)

    async def stop(self) -> None:
        write("stop", type(self).__name__)


class Ground(Noted):
    """Runs in the loop, and sees what is settled."""

    async def start(self) -> None:
        await super().start()
        events.subscribe(events.TasksSettled)(self.settled)

    def settled(self, event: events.TasksSettled) -> None:
        for claim, outcome in event.settled:
            write("settled", claim.name, outcome.ending.name)

    async def run(self) -> None:
        try:
            while True:
                write("tick", time.monotonic())
                await asyncio.sleep(0.05)
        finally:
            write("cancelled", "Ground")


class House(Noted):
    requires = (Ground, "tests.site.components.Wall")


class Wall(Noted):
    requires = ("tests.site.components.Ground",)


class Refuses(Noted):
    requires = (Ground,)

    async def start(self) -> None:
        raise OSError("port 80 is taken")


class Failing(Noted):
    restarts = 3
    restart_pause = 0.05

    async def run(self) -> None:
        write("run", "Failing")
        raise RuntimeError("the lemons are sold out")


class FailsTwice(Noted):
    restart_pause = 0.05
    runs = 0

    async def run(self) -> None:
        self.runs += 1
        write("run", self.runs)
        if self.runs < 3:
            raise RuntimeError("not yet")


class HangsAtTheEnd(Noted):
    async def stop(self) -> None:
        await asyncio.sleep(60)


class Chicken(Component):
    requires = ("tests.site.components.Egg",)


class Egg(Component):
    requires = (Chicken,)


class Lonely(Component):
    requires = ("shop.components.Friend",)


class NotOne:
    """No component."""


def function(worker: Any) -> None:
    """No class."""
