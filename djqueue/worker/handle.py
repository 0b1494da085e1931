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
from .progress import IDLE


class Listener(Protocol):
    """Hears what executors say."""

    def ended(self, executor: ExecutorHandle, items: list[Any]) -> None: ...

    def returned(self, executor: ExecutorHandle, ids: list[str]) -> None: ...

    def progressed(self, items: list[Any]) -> None: ...

    def closed(self, executor: ExecutorHandle) -> None: ...


class ExecutorHandle(asyncio.Protocol):
    """One executor: what it was sent and has not answered yet, oldest first."""

    def __init__(self, listener: Listener, slot: int) -> None:
        self.slot = slot
        self.pid = 0
        self.outstanding: dict[str, tuple[int, Claim, float]] = {}
        self.load = 0.0
        self.heard = monotonic()
        self.recalled = False
        self.useful = False
        self.status: int | None = None
        self.expired = False
        self._listener = listener
        self._serial = IDLE
        self._unpacker = frames.Unpacker()
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        transport.set_write_buffer_limits(high=1 << 30)

    def data_received(self, data: bytes) -> None:
        self.heard = monotonic()
        self.useful = True
        for kind, items in self._unpacker.feed(data):
            if kind == frames.DONE:
                self.recalled = False
                self._listener.ended(self, items)
            elif kind == frames.RETURNED:
                self._listener.returned(self, items)
            elif kind == frames.PROGRESS:
                self._listener.progressed(items)

    def connection_lost(self, error: Exception | None) -> None:
        self._transport = None
        self._listener.closed(self)

    @property
    def connected(self) -> bool:
        return self._transport is not None

    def send(self, claims: list[Claim], estimates: list[float]) -> None:
        items = []
        if not self.outstanding:
            self.heard = monotonic()
        for claim, estimate in zip(claims, estimates, strict=True):
            self._serial += 1
            self.outstanding[claim.id] = (self._serial, claim, estimate)
            self.load += estimate
            items.append((self._serial, *claim))
        self.recalled = False
        self._write(frames.pack(frames.RUN, items))

    def forget(self, task_id: str, attempt: int | None = None) -> Claim | None:
        """Drop a task from what is outstanding; None if it, or this attempt of it, is not."""
        sent = self.outstanding.get(task_id)
        if sent is None or (attempt is not None and sent[1].attempt != attempt):
            return None
        del self.outstanding[task_id]
        self.load = self.load - sent[2] if self.outstanding else 0.0
        return sent[1]

    def forget_all(self) -> None:
        self.outstanding.clear()
        self.load = 0.0

    def lost(self, serial: int) -> tuple[Claim | None, list[Outcome]]:
        """Return what becomes of the outstanding tasks now that the process is gone.

        Only the one it was running, which the progress page names by ``serial``, was lost with it. None was if it was
        killed because the lease ended.
        """
        culprit: Claim | None = None
        outcomes = []
        for number, claim, _ in self.outstanding.values():
            if number == serial and not self.expired:
                culprit = claim
                error = WorkerLostError(
                    f"the executor (process {self.pid}) {describe_exit(self.status)} while it ran the task"
                )
                stored = encode_error(error, with_traceback=False)
                outcomes.append(Outcome.lost(claim.id, claim.attempt, stored, monotonic()))
            else:
                outcomes.append(Outcome.released(claim.id, claim.attempt))
        self.forget_all()
        return culprit, outcomes

    def recall(self) -> None:
        self.recalled = True
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
