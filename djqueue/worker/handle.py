"""Handles: one executor as the worker sees it, and the messages to and from it."""

from __future__ import annotations

import asyncio
import os
import signal
from time import monotonic
from typing import Any, Protocol

from djqueue.exceptions import WorkerLostError
from djqueue.records import Claim, Outcome
from djqueue.serializers import encode_error

from . import frames
from .batches import as_frame
from .progress import IDLE

LIMIT_AGAIN = 0.5
"""Seconds after which a soft limit that has passed is told again."""

RECALL_AFTER = 0.02
"""Seconds without news from an executor after which its unstarted tasks are given to others."""


class Listener(Protocol):
    """Hears what executors say."""

    def ended(self, executor: ExecutorHandle, items: list[Any]) -> None: ...

    def returned(self, executor: ExecutorHandle, ids: list[str]) -> None: ...

    def progressed(self, items: list[Any]) -> None: ...

    def ready(self, executor: ExecutorHandle) -> None: ...

    def closed(self, executor: ExecutorHandle) -> None: ...


class ExecutorHandle(asyncio.Protocol):
    """One executor: what it was sent and has not answered yet, oldest first."""

    def __init__(self, listener: Listener, position: int) -> None:
        self.position = position
        self.pid = 0
        self.outstanding: dict[str, tuple[int, Claim, float]] = {}
        self.sent = 0
        self.load = 0.0
        self._batches: dict[int, int] = {}
        self.heard = monotonic()
        self.is_ready = False
        self.recalled = False
        """Whether nothing has ended since its tasks were recalled."""
        self.recalling = False
        """Whether tasks are on their way back, which must not be overtaken by others on their way to it."""
        self.retired = False
        self.useful = False
        self.status: int | None = None
        self.spared = False
        """Whether it is killed for no fault of what it runs."""
        self.condemned: dict[str, Outcome] = {}
        """What it is killed for: attempts that may not go on, and how they are to end."""
        self.condemned_at = 0.0
        self.terminating: dict[str, int] = {}
        """Tasks that are to be killed as soon as they run, and the OS signal for that."""
        self._listener = listener
        self._serial = IDLE
        self._unpacker = frames.Unpacker()
        self._transport: asyncio.Transport | None = None
        self._limited: set[int] = set()
        self._limited_at = 0.0

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 30)

    def data_received(self, data: bytes) -> None:
        self.heard = monotonic()
        for kind, items in self._unpacker.feed(data):
            if kind == frames.DONE:
                self.recalled, self.useful = False, True
                self._listener.ended(self, items)
            elif kind == frames.RETURNED:
                self.recalling = False
                self._listener.returned(self, items)
            elif kind == frames.PROGRESS:
                self._listener.progressed(items)
            elif kind == frames.READY:
                self.is_ready = True
                self._listener.ready(self)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._listener.closed(self)

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def send(self, worker_id: int, claims: list[Claim], estimates: list[float]) -> None:
        items: list[Any] = [worker_id]
        if not self.outstanding:
            self.heard = monotonic()
        for claim, estimate in zip(claims, estimates, strict=True):
            self._serial += 1
            self.outstanding[claim.id] = (self._serial, claim, estimate)
            self.load += estimate
            items.append((self._serial, *claim))
        self.sent += len(claims)
        self.recalled = False
        self._write(frames.pack(frames.RUN, items))

    def send_batch(self, worker_id: int, claims: list[Claim], estimate: float) -> None:
        """Send claims that run in one call, under one number."""
        if not self.outstanding:
            self.heard = monotonic()
        self._serial += 1
        self._batches[self._serial] = len(claims)
        for claim in claims:
            self.outstanding[claim.id] = (self._serial, claim, estimate)
            self.load += estimate
        self.sent += 1
        self.recalled = False
        self._write(frames.pack(frames.RUN_BATCH, [worker_id, self._serial, as_frame(claims)]))

    @property
    def busy(self) -> int:
        """How many slots its outstanding tasks need."""
        if not self._batches:
            return len(self.outstanding)
        return len(self.outstanding) - sum(self._batches.values()) + len(self._batches)

    def forget(self, task_id: str, attempt: int | None = None) -> Claim | None:
        """Drop a task from what is outstanding; None if it, or this attempt of it, is not."""
        sent = self.outstanding.get(task_id)
        if sent is None or (attempt is not None and sent[1].attempt != attempt):
            return None
        del self.outstanding[task_id]
        if (left := self._batches.get(sent[0])) is not None:
            if left > 1:
                self._batches[sent[0]] = left - 1
            else:
                del self._batches[sent[0]]
        if self.terminating:
            self.terminating.pop(task_id, None)
        self.load = self.load - sent[2] if self.outstanding else 0.0
        return sent[1]

    def forget_all(self) -> None:
        self.outstanding.clear()
        self._batches.clear()
        self.condemned.clear()
        self.terminating.clear()
        self.load = 0.0

    def running(self, serial: int) -> list[Claim]:
        """Return the outstanding tasks with this number: none, one, or those of a batch."""
        return [claim for number, claim, _ in self.outstanding.values() if number == serial]

    def lost(self, running: set[int]) -> tuple[list[Claim], list[Outcome]]:
        """Return what was lost, and what becomes of all outstanding tasks, now that the process is gone.

        Only those it was running, which the progress page names by number, were lost with it. None was if it was
        killed for some other task, or because the lease ended.
        """
        lost: list[Claim] = []
        outcomes = []
        for number, claim, _ in self.outstanding.values():
            if claim.id in self.condemned:
                outcomes.append(self.condemned[claim.id])
            elif number in running and not self.spared:
                lost.append(claim)
                error = WorkerLostError(
                    f"the executor (process {self.pid}) {describe_exit(self.status)} while it ran the task"
                )
                stored = encode_error(error, with_traceback=False)
                outcomes.append(Outcome.lost(claim.id, claim.attempt, stored, monotonic()))
            else:
                outcomes.append(Outcome.released(claim.id, claim.attempt))
        self.forget_all()
        return lost, outcomes

    def interrupt(self) -> None:
        """Raise ``Interrupted`` in everything that runs there."""
        self._write(frames.pack(frames.INTERRUPT))

    def limit(self, serials: set[int], now: float) -> None:
        """Say that soft limits have passed; again after a while, because an OS signal can come just too early."""
        if now > self._limited_at + LIMIT_AGAIN:
            self._limited.clear()
        if new := serials - self._limited:
            self._limited |= new
            self._limited_at = now
            self._write(frames.pack(frames.LIMIT, list(new)))

    def abort(self, ids: list[str]) -> None:
        """Say that nobody wants these tasks any more."""
        self._write(frames.pack(frames.ABORT, ids))

    def is_slow(self, now: float) -> bool:
        """Whether it has said nothing for a while, and what it has not started may go to others."""
        return now - self.heard > RECALL_AFTER and self.is_ready and not (self.recalled or self.recalling)

    def recall(self) -> None:
        self.recalled = self.recalling = True
        self._write(frames.pack(frames.RECALL))

    def hang_up(self) -> None:
        if self._transport is not None:
            self._transport.abort()

    def stop(self) -> None:
        self._write(frames.pack(frames.STOP))

    def _write(self, data: bytes) -> None:
        if self._transport is not None:
            self._transport.write(data)


def describe_exit(status: int | None) -> str:
    """Return a wait status in words."""
    if status is None:
        return "closed its connection"
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
        return f"was killed by OS signal {number} ({signal.Signals(number).name})"
    return f"exited with code {os.waitstatus_to_exitcode(status)}"
