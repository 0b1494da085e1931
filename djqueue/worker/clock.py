"""The database's clock, as read from this machine's monotonic one."""

from __future__ import annotations

from time import monotonic


class DatabaseClock:
    """Translates moments of the monotonic clock, which all executors share, to the database's time."""

    def __init__(self) -> None:
        self._offset = 0.0

    def sync(self, epoch: float, at: float | None = None) -> None:
        """Note that the database said ``epoch`` at the monotonic time ``at``."""
        self._offset = epoch - (monotonic() if at is None else at)

    def epoch(self, moment: float) -> float:
        return moment + self._offset

    def moment(self, epoch: float) -> float:
        return epoch - self._offset
