"""Progress: pages of memory in which executors note which tasks they run, and until when those may.

When an executor dies, the worker reads there which attempts were being run. Only those were lost; what was merely
waiting behind them goes back in line with its attempt not counted. Time limits are read there too, so that they hold
although a task keeps its executor from saying anything.
"""

from __future__ import annotations

import mmap
import os
import tempfile

IDLE = 0
NEVER = 0.0
WORD = 8
COLUMNS = 4
HEADERS = 2


class ProgressPage:
    """A cell for each slot of each of ``executors``, shared by all processes that have ``descriptor``.

    Only the executor writes; each value is one word, written at once. ``serials`` is what runs
    in a cell, or ``IDLE``; ``started``, ``soft`` and ``hard`` are monotonic times in seconds, ``NEVER`` if there is no
    such limit. Of a whole executor, ``limited`` says that it has run tasks with limits, ``memory`` how many KiB it
    takes.
    """

    def __init__(self, executors: int, slots: int, descriptor: int | None = None) -> None:
        self.executors = executors
        self.slots = slots
        cells = executors * slots
        size = (COLUMNS * cells + HEADERS * executors) * WORD
        self.descriptor = _allocated(size) if descriptor is None else descriptor
        memory = memoryview(mmap.mmap(self.descriptor, size))
        columns = [memory[at * cells * WORD : (at + 1) * cells * WORD] for at in range(COLUMNS)]
        self.serials = columns[0].cast("Q")
        self.started, self.soft, self.hard = (column.cast("d") for column in columns[1:])
        rest = memory[COLUMNS * cells * WORD :].cast("Q")
        self.limited, self.memory = rest[:executors], rest[executors:]

    def cells(self, executor: int) -> range:
        """Return the numbers of an executor's cells."""
        return range(executor * self.slots, (executor + 1) * self.slots)

    def clear(self, executor: int) -> None:
        """Forget what an earlier executor in this place has left."""
        for cell in self.cells(executor):
            self.serials[cell] = IDLE
            self.soft[cell] = self.hard[cell] = NEVER
        self.limited[executor] = self.memory[executor] = 0

    def running(self, executor: int) -> set[int]:
        """Return the serial numbers of the tasks that an executor runs."""
        first = executor * self.slots
        return set(self.serials[first : first + self.slots].tolist()) - {IDLE}

    def overdue(self, executor: int, limits: memoryview[float], now: float) -> list[int]:
        """Return the cells of an executor whose limit (``soft`` or ``hard``) has passed."""
        first = executor * self.slots
        times = limits[first : first + self.slots].tolist()
        return [first + place for place, limit in enumerate(times) if NEVER < limit <= now]


def _allocated(size: int) -> int:
    """Return a descriptor of so much memory, which unlike anonymous memory a program that is executed can inherit."""
    if hasattr(os, "memfd_create"):
        descriptor = os.memfd_create("djqueue-progress")
    else:
        with tempfile.TemporaryFile() as file:
            descriptor = os.dup(file.fileno())
    os.ftruncate(descriptor, size)
    return descriptor
