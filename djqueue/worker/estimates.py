"""Estimates: how long tasks take, from how long they took."""

from __future__ import annotations

UNKNOWN = 0.05
"""Seconds assumed for a task that has not run here yet."""
WEIGHT = 0.2
"""Of the newest run in the moving average."""
OVERHEAD = 0.00002
"""Seconds that even an empty task costs its executor."""


class Estimates:
    """Moving averages of run times in seconds: by task name, and over all tasks."""

    def __init__(self) -> None:
        self._by_name: dict[str, float] = {}
        self.mean = UNKNOWN
        self._seen = False

    def of(self, name: str) -> float:
        return self._by_name.get(name, UNKNOWN)

    def learn(self, name: str, run_time: float) -> None:
        run_time += OVERHEAD
        known = self._by_name.get(name)
        self._by_name[name] = run_time if known is None else known + WEIGHT * (run_time - known)
        self.mean = self.mean + WEIGHT * (run_time - self.mean) if self._seen else run_time
        self._seen = True
