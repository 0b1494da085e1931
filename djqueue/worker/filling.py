"""Filling: which of the waiting tasks go to an executor now."""

from __future__ import annotations

from time import monotonic

from djqueue.records import Claim

from .crew import Crew, Place
from .estimates import Estimates
from .handle import ExecutorHandle
from .waiting import Waiting

FRAME = 0.01
"""Seconds of work to send for a slot at once; a task that takes longer is only sent where it can start at once."""
FRAME_MOST = 200
"""Tasks in a frame, unless there are as many free slots."""


class Filler:
    """Sends waiting tasks to executors, no more than they can soon begin."""

    def __init__(self, crew: Crew, waiting: Waiting, estimates: Estimates, slots: int) -> None:
        self._crew = crew
        self._waiting = waiting
        self._estimates = estimates
        self._slots = slots

    def fill(self, place: Place, share: int, worker_id: int) -> None:
        """Send the executor in a place up to ``share`` of the tasks in line, and batches that are due."""
        executor = place.current
        if executor is None or not executor.connected or executor.condemned or executor.recalling:
            return
        free, load = self._slots - place.busy, executor.load
        # One whose tasks were recalled is slow: they would come back to it for ever.
        if free <= 0 and (executor.recalled or load >= FRAME * self._slots):
            return
        most = max(free, FRAME_MOST)
        if (room := self._crew.room(place)) is not None:
            most = min(most, room)
        while free > 0 and most > 0 and self._send_batch(executor, worker_id):
            free, most = free - 1, most - 1
        # Where a batch is next, a slot must become free: nothing is queued behind what runs.
        most = 0 if self._is_batch_next() else min(share, most)
        claims: list[Claim] = []
        estimates: list[float] = []
        while self._waiting.in_line and len(claims) < most:
            estimate = self._estimates.of(self._waiting.first().name)
            # A long task is only sent to a free slot, and nothing is queued behind it.
            if free <= 0 and (estimate >= FRAME or load >= FRAME * 2 * self._slots):
                break
            claims.append(self._waiting.take())
            estimates.append(estimate)
            load += estimate
            free -= 1
        if claims:
            executor.send(worker_id, claims, estimates)
        if self._crew.recycles:
            self._crew.turn_over(place)

    def _is_batch_next(self) -> bool:
        batches = self._waiting.batches
        due = batches.due(monotonic()) if len(batches) else None
        return due is not None and due <= self._waiting.since

    def _send_batch(self, executor: ExecutorHandle, worker_id: int) -> bool:
        """Send the batch that is due, if one is and nothing in line waits longer. Whether it did."""
        if not self._is_batch_next():
            return False
        claims = self._waiting.batches.take(monotonic())
        executor.send_batch(worker_id, claims, self._estimates.of(claims[0].name))
        return True
