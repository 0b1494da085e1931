"""Memory: how much of it is left on this host, or in this container."""

from __future__ import annotations

from contextlib import suppress
from pathlib import Path

MEMINFO = Path("/proc/meminfo")
CGROUP = Path("/sys/fs/cgroup")


def share_left(meminfo: Path = MEMINFO, cgroup: Path = CGROUP) -> float:
    """Return which share of the memory is left, 0 to 1; of the container's, if that has less. 1 if nobody says."""
    return min(_of_the_host(meminfo), _of_the_container(cgroup))


def _of_the_host(meminfo: Path) -> float:
    with suppress(OSError, KeyError, ValueError, ZeroDivisionError):
        lines = dict(line.split(":", 1) for line in meminfo.read_text().splitlines() if ":" in line)
        total, available = (int(lines[name].split()[0]) for name in ("MemTotal", "MemAvailable"))
        return available / total
    return 1.0


def _of_the_container(cgroup: Path) -> float:
    """By cgroup v2; ``max`` is no limit. Pages of files that nobody needs now count as free."""
    with suppress(OSError, ValueError, ZeroDivisionError, KeyError):
        most = int((cgroup / "memory.max").read_text())
        used = int((cgroup / "memory.current").read_text())
        stat = dict(line.split() for line in (cgroup / "memory.stat").read_text().splitlines())
        return min(1.0, max(0.0, 1 - (used - int(stat["inactive_file"])) / most))
    return 1.0
