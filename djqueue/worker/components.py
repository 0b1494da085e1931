"""Components: classes of the site's that live with the worker (Celery's boot steps)."""

from __future__ import annotations

import asyncio
import traceback
from collections.abc import Iterable, Sequence
from graphlib import CycleError, TopologicalSorter
from time import monotonic

from django.utils.module_loading import import_string

from djqueue import events

from .options import WorkerFacts

STOP_MOST = 5.0
"""Seconds that a component has to stop."""
STEADY = 60.0
"""Seconds after which what a component has failed before is forgotten."""
LONGEST_PAUSE = 60.0


class ComponentFailed(Exception):
    """A component keeps the worker from starting; the message names it."""


class Component:
    """Subclass it, and name the subclass in ``DJQUEUE["WORKER_COMPONENTS"]``.

    Its methods are coroutines in the worker's own loop, the one that renews the lease: none may block. It sees what
    happens by ``djqueue.events.subscribe``.
    """

    requires: Sequence[type[Component] | str] = ()
    """Components, as classes or dotted paths, that are started before this one and stopped after it."""
    restarts = 5
    """How often in a row ``run`` is started again after it failed."""
    restart_pause = 1.0
    """Seconds before the first restart; each further pause is twice as long."""

    def __init__(self, worker: WorkerFacts) -> None:
        self.worker = worker

    async def start(self) -> None:
        """Get ready. The worker does not claim before this has ended; what it raises keeps the worker from starting."""

    async def run(self) -> None:
        """Do something until it is done or cancelled, which is when the worker stops."""

    async def stop(self) -> None:
        """Leave nothing behind. Called when no task runs any more."""


class Components:
    """Starts, runs and stops components in order."""

    def __init__(self, paths: Iterable[str], worker: WorkerFacts) -> None:
        """Raises ``ComponentFailed`` for what cannot be loaded, or requires what is not there."""
        self._classes = ordered(load(paths))
        self._worker = worker
        self._started: list[Component] = []
        self._running: list[asyncio.Task[None]] = []

    async def start(self) -> None:
        """Start each after those that it requires. Raises ``ComponentFailed``, after it has stopped the others."""
        for kind in self._classes:
            try:
                component = kind(self._worker)
                await component.start()
            except Exception as error:
                await self.stop()
                raise ComponentFailed(f"the component {path_of(kind)} could not start: {_described(error)}") from error
            self._started.append(component)
            self._running.append(asyncio.create_task(self._keep_running(component)))

    async def _keep_running(self, component: Component) -> None:
        failures = 0
        while True:
            began = monotonic()
            try:
                return await component.run()
            except Exception as error:
                failures = 1 if monotonic() - began > STEADY else failures + 1
                pause = min(LONGEST_PAUSE, component.restart_pause * 2 ** (failures - 1))
                again_in = pause if failures <= component.restarts else None
                text = "".join(traceback.format_exception(error)).rstrip()
                events.emit(events.ComponentBroken(path_of(type(component)), text, again_in))
                if again_in is None:
                    return
                await asyncio.sleep(again_in)

    async def stop(self) -> None:
        """Stop them, the last one first. One that fails or hangs is logged and holds up nobody."""
        for task in self._running:
            task.cancel()
        await asyncio.gather(*self._running, return_exceptions=True)
        self._running.clear()
        while self._started:
            component = self._started.pop()
            try:
                await asyncio.wait_for(component.stop(), STOP_MOST)
            except Exception as error:
                text = "".join(traceback.format_exception(error)).rstrip()
                events.emit(events.ComponentBroken(path_of(type(component)), text, None))


def load(paths: Iterable[str]) -> list[type[Component]]:
    """Return the classes with these dotted paths. Raises ``ComponentFailed`` for what is none."""
    found: list[type[Component]] = []
    for path in paths:
        try:
            kind = import_string(path)
        except Exception as error:
            raise ComponentFailed(f"the component {path} could not be loaded: {_described(error)}") from error
        if not isinstance(kind, type) or not issubclass(kind, Component):
            raise ComponentFailed(
                f"expected DJQUEUE['WORKER_COMPONENTS'] to name subclasses of {path_of(Component)}, got: {path}"
            )
        if kind not in found:
            found.append(kind)
    return found


def ordered(kinds: Sequence[type[Component]]) -> list[type[Component]]:
    """Return components so that each comes after those it requires, and otherwise as they are given.

    Raises ``ComponentFailed`` for one that requires what is not given, and for a circle.
    """
    known = {path_of(kind): kind for kind in kinds}
    graph: TopologicalSorter[str] = TopologicalSorter()
    for path, kind in known.items():
        needed = [one if isinstance(one, str) else path_of(one) for one in kind.requires]
        for missing in [one for one in needed if one not in known]:
            raise ComponentFailed(
                f"the component {path} requires {missing}, which DJQUEUE['WORKER_COMPONENTS'] does not name"
            )
        graph.add(path, *needed)
    try:
        return [known[path] for path in graph.static_order()]
    except CycleError as error:
        raise ComponentFailed(f"components require each other in a circle: {' -> '.join(error.args[1])}") from None


def path_of(kind: type) -> str:
    return f"{kind.__module__}.{kind.__qualname__}"


def _described(error: Exception) -> str:
    return f"{type(error).__name__}: {error}"
