"""The executor: a process that runs user code, one task after the other.

Its main thread runs tasks. A second thread reads the socket, so that the worker can take back what has not started
while a task runs, and so that the process ends at once when its worker is gone.
"""

from __future__ import annotations

import os
import signal
import socket
import sys
import threading
from collections import deque
from queue import Empty, SimpleQueue
from time import monotonic
from types import FrameType
from typing import Any

from django.db import close_old_connections

from djqueue.records import Claim, Outcome

from . import frames
from .progress import IDLE, ProgressPage
from .runner import Interrupted, run

REPORT_AFTER = 0.005
"""Seconds after which outcomes are sent although more tasks are waiting here."""
IDLE_AFTER = 1.0
"""Seconds without a task after which database connections end whose ``CONN_MAX_AGE`` is over."""
INTERRUPT = signal.SIGUSR1


class Executor:
    """Runs what comes over ``connection`` until it is told to stop.

    ``alone`` in its process it ends that with the connection: what it runs may run elsewhere soon.
    """

    def __init__(
        self, connection: socket.socket, page: ProgressPage, slot: int, hostname: str, *, alone: bool = True
    ) -> None:
        self._connection = connection
        self._page = page
        self._slot = slot
        self.hostname = hostname
        self._alone = alone
        self._inbox: SimpleQueue[tuple[int, Claim] | None] = SimpleQueue()
        self._ended: deque[tuple[Any, ...]] = deque()
        self._sending = threading.Lock()
        self._interruptible = False

    def serve(self) -> None:
        """Run tasks until the worker says stop. Call it in the main thread."""
        signal.signal(INTERRUPT, self._interrupt)
        threading.Thread(target=self._receive, name="djqueue-inbox", daemon=True).start()
        reported = monotonic()
        while (item := self._next()) is not None:
            serial, claim = item
            self._page[self._slot] = serial
            outcome = self._run(claim)
            self._ended.append((outcome.id, outcome.attempt, int(outcome.ending), *outcome[3:]))
            self._page[self._slot] = IDLE
            if self._inbox.empty() or outcome.finished - reported > REPORT_AFTER:
                self._report()
                reported = monotonic()
        self._report()

    def _next(self) -> tuple[int, Claim] | None:
        try:
            return self._inbox.get(timeout=IDLE_AFTER)
        except Empty:
            close_old_connections()
            return self._inbox.get()

    def _run(self, claim: Claim) -> Outcome:
        try:
            self._interruptible = True
            outcome = run(claim, self)
            self._interruptible = False
        except Interrupted:
            self._interruptible = False
            outcome = Outcome.released(claim.id, claim.attempt)
        return outcome

    def _interrupt(self, signum: int, frame: FrameType | None) -> None:
        if self._interruptible:
            self._interruptible = False
            raise Interrupted

    def report(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        """Send what a task shows of its progress."""
        with self._sending:
            self._connection.sendall(frames.pack(frames.PROGRESS, [(task_id, attempt, state, meta)]))

    def _report(self) -> None:
        # Both threads may come here; popping one by one under the lock sends each outcome once, in order.
        with self._sending:
            batch = []
            while self._ended:
                batch.append(self._ended.popleft())
            if batch:
                self._connection.sendall(frames.pack(frames.DONE, batch))

    def _receive(self) -> None:
        # The kernel may give an OS signal to any thread, but only in the main one does it end a sleep.
        signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for kind, items in frames.receive(self._connection):
                if kind == frames.RUN:
                    for serial, *claim in items:
                        self._inbox.put((serial, Claim._make(claim)))
                elif kind == frames.RECALL:
                    self._give_back()
                elif kind == frames.STOP:
                    self._inbox.put(None)
        except OSError:
            pass  # the worker is gone, as on an orderly end of the stream
        finally:
            # Without a worker, or without this thread, nobody can settle what runs here; it will run elsewhere.
            if self._alone:
                exit_now(0 if self._inbox.empty() and self._page[self._slot] == IDLE else 1)
            self._inbox.put(None)

    def _give_back(self) -> None:
        unstarted: list[str] = []
        try:
            while (item := self._inbox.get_nowait()) is not None:
                unstarted.append(item[1].id)
            self._inbox.put(None)  # it was the order to stop
        except Empty:
            pass
        self._report()
        with self._sending:
            self._connection.sendall(frames.pack(frames.RETURNED, unstarted))


def serve_and_exit(connection: socket.socket, page: ProgressPage, slot: int, hostname: str) -> None:
    """Be an executor for the rest of this process."""
    status = 1
    try:
        Executor(connection, page, slot, hostname).serve()
        status = 0
    finally:
        exit_now(status)


def exit_now(status: int) -> None:
    """End this process; only the standard streams are flushed."""
    # Not sys.exit: handlers registered with atexit belong to the process this one was forked from.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status)
