"""Processes and what they use, as Linux accounts for it."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

import psutil


def tree(pid: int) -> list[psutil.Process]:
    """Return a process and all its descendants."""
    root = psutil.Process(pid)
    return [root, *root.children(recursive=True)]


def pss_mb(pid: int) -> float:
    """Return the memory of a process tree in MB, with what several processes share counted once."""
    return sum(pss_mb_each(pid))


def pss_mb_each(pid: int) -> list[float]:
    return [_pss_kb(process.pid) / 1024 for process in tree(pid)]


def _pss_kb(pid: int) -> int:
    for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1])
    raise RuntimeError(f"expected a line 'Pss:' in /proc/{pid}/smaps_rollup, found none")


def cpu_s(pid: int) -> float:
    """Return the CPU seconds a process tree has used, its ended children included."""
    total = 0.0
    for process in tree(pid):
        with suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total += times.user + times.system + times.children_user + times.children_system
    return total
