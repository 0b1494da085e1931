"""Progress: a page of memory in which each executor notes which task it runs.

When an executor dies, the worker reads there which attempt was being run. Only that one was lost; what was merely
waiting behind it goes back in line with its attempt not counted.
"""

from __future__ import annotations

import mmap

IDLE = 0


class ProgressPage:
    """One number for each executor slot, shared by all processes forked after it was made."""

    def __init__(self, slots: int) -> None:
        self._memory = mmap.mmap(-1, max(mmap.PAGESIZE, slots * 8))
        self._cells = memoryview(self._memory).cast("Q")

    def __getitem__(self, slot: int) -> int:
        """Return the serial number of the task that runs in ``slot``, or ``IDLE``."""
        return self._cells[slot]

    def __setitem__(self, slot: int, serial: int) -> None:
        self._cells[slot] = serial
