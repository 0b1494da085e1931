"""The lookout: which lanes have work, from where on, and when to look again."""

from __future__ import annotations

from collections.abc import Iterable
from time import monotonic

from psycopg import AsyncConnection

from djqueue.records import Lane
from djqueue.store import floor
from djqueue.store.lanes import discover
from djqueue.store.promote import promote

from .pauses import Pauses
from .queues import QueueSelection

POLL_MIN = 0.002
"""Seconds until the second look at an empty queue; each further pause is twice as long."""
SURVEY = 1.0
"""Seconds between two searches for unknown lanes."""
SURVEY_LISTENING = 5.0
PAUSES = 0.5
"""Seconds between two looks at what is paused."""
PAUSES_LISTENING = 5.0
FLOOR_EVERY = 1.0


class Lookout:
    """Knows the lanes and paces the looking: at once while there is work, ever more rarely while there is none."""

    def __init__(self, selection: QueueSelection, poll_max: float) -> None:
        self.listening = False
        self.pauses = Pauses()
        self._selection = selection
        self._poll_max = poll_max
        self._lanes: dict[tuple[str, int], Lane] = {}
        self._pause = POLL_MIN
        self._next_look = 0.0
        self._surveyed = 0.0
        self._next_survey = 0.0
        self._next_floor = 0.0
        self._claimed_since_floor = False
        self._told = False
        self._cut: floor.Cut | None = None

    def wake(self) -> None:
        """Something came into line: look now, and keep looking often for a while."""
        self._told = True
        self._pause = POLL_MIN
        self._next_look = 0.0

    def notified(self, queue: str) -> None:
        """A producer says that a queue has tasks."""
        if self._selection.rank(queue) is not None:
            self.wake()

    def until_look(self, now: float) -> float:
        """Return the seconds until the next look is due."""
        return min(self._next_look, self.pauses.next_end()) - now

    def lanes(self, *, paused_too: bool = False) -> list[Lane]:
        """Return the lanes to claim from, the first to look at first."""
        return self._selection.ordered(self._lanes.values(), () if paused_too else self.pauses.queues())

    def found(self, claimed: int, wanted: int) -> None:
        """Pace the next look by what the last one brought."""
        if claimed:
            self._claimed_since_floor = True
            self._pause = POLL_MIN
        if self._told:
            # The tasks told of may stand in a lane that is not known yet, above all if none was found.
            self._next_survey = min(self._next_survey, self._surveyed + SURVEY if claimed else 0.0)
        self._told = False
        if claimed == wanted:
            self._next_look = 0.0
            return
        self._next_look = monotonic() + self._pause
        self._pause = min(self._poll_max, self._pause * 2)

    def parked(self, lanes: Iterable[Lane]) -> None:
        """Limited tasks were met. Those that pass will stand in these lanes; others behind them may in unknown ones."""
        for lane in lanes:
            self._lanes.setdefault((lane.queue, lane.priority), lane)
        self._next_survey = min(self._next_survey, self._surveyed + SURVEY)

    async def survey(self, connection: AsyncConnection, *, force: bool = False) -> bool:
        """Search for unknown lanes if it is time to; return whether one was found."""
        now = monotonic()
        if now < self._next_survey and not force:
            return False
        self._surveyed = now
        self._next_survey = now + (SURVEY_LISTENING if self.listening else SURVEY)
        new = await discover(connection, self._lanes.keys())
        for lane in new:
            self._lanes[lane.queue, lane.priority] = lane
        if not self.pauses.known:
            await self.pauses.read(connection)
        return any(self._selection.rank(lane.queue) is not None for lane in new)

    async def look_at_pauses(self, connection: AsyncConnection) -> float:
        """Learn what is paused; return the seconds until the next look. For a connection beside that of claims."""
        news = await self.pauses.read(connection)
        next_sweep = await self.pauses.sweep(connection)
        if news:
            await promote(connection)  # what may start again does so now
            self.wake()
        return min(PAUSES_LISTENING if self.listening else PAUSES, next_sweep)

    async def raise_floors(self, connection: AsyncConnection) -> None:
        """Take the next step of the floor protocol if claims have left dead entries behind."""
        now = monotonic()
        if now < self._next_floor:
            return
        if self._cut is None and self._claimed_since_floor and self._lanes:
            self._claimed_since_floor = False
            self._cut = await floor.cut(connection)
        raised = self._cut and await floor.raise_floors(connection, list(self._lanes.values()), self._cut)
        if raised:
            self._cut = None
            self._lanes.update({(lane.queue, lane.priority): lane for lane in raised})
        self._next_floor = now + FLOOR_EVERY

    def restart(self) -> None:
        """Forget what a new connection must find out again.

        Floors too: a server that was restored or failed over may draw sequence numbers below them.
        """
        self._lanes.clear()
        self.pauses.known = False
        self._cut = None
        self._next_survey = 0.0
        self.wake()
