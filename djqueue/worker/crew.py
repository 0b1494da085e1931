"""The crew: which executors there are, which of them take tasks, and how one follows another."""

from __future__ import annotations

import asyncio
import signal
import socket
from collections.abc import Callable, Coroutine, Iterator
from dataclasses import dataclass, field
from typing import Any

from .handle import ExecutorHandle, Listener
from .options import WorkerOptions
from .progress import ProgressPage
from .spawners import Spawner

TICK = 0.01
RESPAWN_PAUSE = 0.5
HANG_UP_AFTER = 0.1
"""Seconds between the end of an executor's process and the end of its connection."""
GENERATIONS_MOST = 64
"""Executors in one place at the most."""
ENDING = 6
"""Executors in one place that have nothing left to do, but whose processes have not ended yet."""
SPARE_AHEAD = 0.25
"""Share of its tasks that an executor still has to run when the one after it is spawned."""


@dataclass(slots=True, eq=False)
class Place:
    """Where one executor is in service; ``spare`` is to follow it, and ``retired`` ones finish what they run."""

    current: ExecutorHandle | None = None
    spare: ExecutorHandle | None = None
    retired: list[ExecutorHandle] = field(default_factory=list)

    @property
    def busy(self) -> int:
        """How many slots are needed for what executors in this place have and what has not ended."""
        current = self.current.busy if self.current is not None else 0
        return current + sum(e.busy for e in self.retired) if self.retired else current


def page_for(options: WorkerOptions) -> ProgressPage:
    """Return a progress page with room for all executors that there can be at once."""
    return ProgressPage(options.most_processes * _generations(options), options.slots)


def _generations(options: WorkerOptions) -> int:
    # Two to take tasks, or be about to, and in the worst case one for each slot that finishes a last task.
    return min(2 + options.slots + ENDING, GENERATIONS_MOST) if _recycles(options) else 1


def _recycles(options: WorkerOptions) -> bool:
    return options.max_tasks_per_child is not None or options.max_memory_per_child is not None


class Crew:
    """Keeps an executor in service in every place. ``listener`` hears what executors say."""

    def __init__(self, spawner: Spawner, page: ProgressPage, options: WorkerOptions, listener: Listener) -> None:
        self.executors: dict[int, ExecutorHandle] = {}
        self.places: list[Place] = []
        self.leaving: list[Place] = []
        """Places that were taken away, while their executors finish what they run."""
        self.recycles = self._always_recycles = _recycles(options)
        self.stopping = False
        self._spawner = spawner
        self._page = page
        self._listener = listener
        # Where one is forked in milliseconds, the number is kept to. Elsewhere tasks would wait for it too long.
        self._starts_slowly = options.pool == "gevent"
        self._most_tasks = options.max_tasks_per_child
        self._most_memory = options.max_memory_per_child
        self._generations = _generations(options)
        self._processes = options.processes
        self._positions = 0
        self._free: list[int] = []
        self._background: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        self.grow(self._processes)
        await asyncio.gather(*self._background)

    def grow(self, number: int) -> None:
        """Put executors into ``number`` more places, of which there must be ``room_for``."""
        self.places += [Place() for _ in range(number)]
        # Those that leave still have theirs.
        wanted = max(len(self.places) * self._generations, self._positions + number - len(self._free))
        positions = min(max(self._positions, wanted), self._page.executors)
        self._free[:0] = reversed(range(self._positions, positions))
        self._positions = positions
        for place in self.places[-number:]:
            place.current = self._spawn()

    @property
    def room_for(self) -> int:
        """How many more executors there can be."""
        return self._page.executors - self._positions + len(self._free)

    def shrink(self, number: int) -> None:
        """Take ``number`` places away, the least busy ones. Their executors finish what they run, and end."""
        for place in sorted(self.places, key=lambda place: place.busy)[:number]:
            self.places.remove(place)
            self.leaving.append(place)
            for executor in (place.current, place.spare):
                if executor is not None:
                    place.retired.append(executor)
                    executor.retired = True
                    if executor.outstanding and not executor.recalling:
                        executor.recall()
            place.current = place.spare = None
        self._forget_empty_places()
        self.turn_all_over()

    def _forget_empty_places(self) -> None:
        self.leaving = [place for place in self.leaving if place.retired]
        self.recycles = self._always_recycles or bool(self.leaving)

    def __iter__(self) -> Iterator[ExecutorHandle]:
        return iter(self.executors.values())

    def _spawn(self) -> ExecutorHandle:
        position = self._free.pop()
        self._page.clear(position)
        executor = ExecutorHandle(self._listener, position)
        self.executors[position] = executor
        self._in_background(self._connect(executor))
        return executor

    async def _connect(self, executor: ExecutorHandle) -> None:
        ours, theirs = socket.socketpair()
        ours.setblocking(False)
        await asyncio.get_running_loop().create_connection(lambda: executor, sock=ours)
        self._spawner.spawn(executor.position, theirs)

    def _in_background(self, coroutine: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(coroutine)
        self._background.add(task)
        task.add_done_callback(self._background.discard)

    def spawned(self, position: int, pid: int) -> None:
        """The process of an executor was started."""
        if position in self.executors:
            self.executors[position].pid = pid

    def exited(self, pid: int, status: int) -> None:
        """The process of an executor has ended."""
        for executor in self.executors.values():
            if executor.pid == pid:
                executor.status = status
                # A process that the task forked may keep the socket open; what the executor still said has arrived
                # by then.
                asyncio.get_running_loop().call_later(HANG_UP_AFTER, executor.hang_up)

    def kill(self, executor: ExecutorHandle, number: int = signal.SIGKILL) -> bool:
        """Send an OS signal to an executor. False if its process is not known yet."""
        if executor.pid and executor.connected:
            self._spawner.kill(executor.pid, number)
        return bool(executor.pid)

    def bury(self, executor: ExecutorHandle, mourn: Callable[[ExecutorHandle], None]) -> None:
        """See that a new executor takes the place of one whose connection has ended; ``mourn`` settles what it had."""
        self._in_background(self._bury(executor, mourn))

    async def _bury(self, executor: ExecutorHandle, mourn: Callable[[ExecutorHandle], None]) -> None:
        if executor.pid and executor.status is None:
            # It may have closed the socket and live on; then nobody can reach it any more.
            self._spawner.kill(executor.pid, signal.SIGKILL)
        for _ in range(100):
            if executor.status is not None:
                break
            await asyncio.sleep(TICK)
        unused = not executor.useful and not self._page.running(executor.position)
        mourn(executor)
        del self.executors[executor.position]
        self._free.append(executor.position)
        if unused and not executor.retired:
            # It died by itself before it was of use; starting the next in a tight loop helps nobody.
            await asyncio.sleep(RESPAWN_PAUSE)
        if executor.retired:
            self._place_of(executor).retired.remove(executor)
            self._forget_empty_places()
            self.turn_all_over()
            return
        self._replace(executor)

    def _place_of(self, executor: ExecutorHandle) -> Place:
        places = [*self.places, *self.leaving]
        return next(p for p in places if executor in (p.current, p.spare) or executor in p.retired)

    def _replace(self, executor: ExecutorHandle) -> None:
        place = self._place_of(executor)
        if place.spare is executor:
            place.spare = None if self.stopping else self._spawn()
        elif place.spare is not None:
            place.current, place.spare = place.spare, None
        else:
            place.current = None if self.stopping else self._spawn()

    def room(self, place: Place) -> int | None:
        """Return how many more tasks the executor in a place may be sent, None for any number."""
        if self._most_tasks is None or place.current is None:
            return None
        ending = any(e.retired and not e.outstanding for e in self) if place.spare is None else True
        if not self._free and not ending:
            return None  # it cannot be replaced before a long task of some predecessor has ended
        if self._starts_slowly and not (place.spare is not None and place.spare.is_ready):
            return None
        return self._most_tasks - place.current.sent

    def turn_all_over(self) -> None:
        """Turn every place over, and tell executors to end that have finished their last tasks."""
        if not self.recycles:
            return
        for place in [*self.places, *self.leaving]:
            self.turn_over(place)
            for executor in place.retired:
                if not executor.outstanding:
                    executor.stop()

    def turn_over(self, place: Place) -> None:
        """Let the spare take over from an executor that has done its part, and see that there is one in time."""
        executor = place.current
        if executor is None or not executor.connected:
            return
        worn, wearing = self._wear(executor)
        if wearing and place.spare is None and self._free and not self.stopping:
            place.spare = self._spawn()
        if worn and place.spare is not None and place.spare.is_ready:
            place.current, place.spare = place.spare, None
            place.retired.append(executor)
            executor.retired = True
            self.turn_over(place)

    def _wear(self, executor: ExecutorHandle) -> tuple[bool, bool]:
        """Return whether an executor has done its part, and whether it will have soon."""
        heavy = self._most_memory is not None and self._page.memory[executor.position] > self._most_memory
        if self._most_tasks is None:
            return heavy, heavy
        left = self._most_tasks - executor.sent
        return heavy or left <= 0, heavy or left <= max(1, int(self._most_tasks * SPARE_AHEAD))
