"""The executor: a process that runs user code. This is its talk with the worker; an engine runs what it is sent.

A thread of its own reads the socket, so that the worker can take back what has not started, interrupt what has, and so
that the process ends at once when its worker is gone, whatever the tasks do.
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
from typing import Any, Protocol

from djqueue.records import Claim, Outcome

from . import frames
from .batches import Batch, members
from .options import ExecutorOptions
from .progress import ProgressPage
from .weight import weight

REPORT_AFTER = 0.005
"""Seconds after which outcomes are sent although more tasks are waiting here."""
SHOW_EVERY = 0.03
"""Seconds between two frames with what tasks show of their progress."""


class Engine(Protocol):
    """Runs what comes into the inbox of an executor, in its slots. ``serve`` is called in the main thread; the others
    in the one that reads the socket.
    """

    def serve(self) -> None:
        """Run tasks until the inbox says ``None``, and those that came before it have ended."""

    def poke(self) -> None:
        """There is something in the inbox."""

    def limit(self, serial: int) -> None:
        """Raise ``SoftTimeLimitExceeded`` in the task with this number, if it runs."""

    def interrupt(self) -> None:
        """Raise ``Interrupted`` in everything that runs."""

    def abort(self, task_id: str) -> None:
        """Let a task know, if it can be told, that nobody wants it any more."""


class Executor:
    """Runs what comes over ``connection`` until it is told to stop.

    ``alone`` in its process it ends that with the connection: what it runs may run elsewhere soon.
    """

    def __init__(
        self,
        connection: socket.socket,
        page: ProgressPage,
        position: int,
        options: ExecutorOptions,
        *,
        alone: bool = True,
    ) -> None:
        self.page = page
        self.position = position
        self.options = options
        self.worker_id = 0
        self.inbox: SimpleQueue[tuple[int, Claim] | None] = SimpleQueue()
        self.ended: deque[tuple[Any, ...]] = deque()
        self.aborted: set[str] = set()
        self.stopping = False
        self._connection = connection
        self._alone = alone
        self._sending = threading.Lock()
        self._reported = 0.0
        self._shown: dict[str, tuple[str, int, str, str | None]] = {}
        self._shown_at = 0.0
        self._engine: Engine | None = None

    def listen(self, engine: Engine) -> None:
        """Begin to take tasks for an engine that is ready to run them."""
        self._engine = engine
        threading.Thread(target=self._receive, name="djqueue-inbox", daemon=True).start()
        self._send(frames.READY)

    def interrupt(self) -> None:
        """Raise ``Interrupted`` in everything that runs."""
        if self._engine is not None:
            self._give_back()
            self._engine.interrupt()

    def add(self, outcome: Outcome) -> None:
        """Take an outcome, to be sent soon."""
        self.ended.append((outcome.id, outcome.attempt, int(outcome.ending), *outcome[3:]))
        for other in outcome.others:
            self.add(other)
        if self.aborted:
            self.aborted.discard(outcome.id)
        if self._shown:
            self._shown.pop(outcome.id, None)

    def report_soon(self) -> None:
        """Send what has ended, unless more will have ended in a moment."""
        if self.inbox.empty() or monotonic() - self._reported > REPORT_AFTER:
            self.report()
            self._reported = monotonic()

    def report(self) -> None:
        """Send what has ended."""
        if self.options.weighs:
            self.page.memory[self.position] = weight()
        # Several threads may come here; popping one by one under the lock sends each outcome once, in order.
        with self._sending:
            batch = []
            while self.ended:
                batch.append(self.ended.popleft())
            if batch:
                self._connection.sendall(frames.pack(frames.DONE, batch))

    def show(self, task_id: str, attempt: int, state: str, meta: str | None) -> None:
        """Send what a task shows of its progress: the latest of each task, and not all the time."""
        with self._sending:
            late = not self._shown
            self._shown[task_id] = (task_id, attempt, state, meta)
        pause = self._shown_at + SHOW_EVERY - monotonic()
        if pause <= 0:
            self._send_shown()
        elif late:
            timer = threading.Timer(pause, self._send_shown)
            timer.daemon = True
            timer.start()

    def _send_shown(self) -> None:
        self._shown_at = monotonic()
        with self._sending:
            if self._shown:
                self._connection.sendall(frames.pack(frames.PROGRESS, list(self._shown.values())))
                self._shown.clear()

    def _send(self, kind: int, items: list[Any] | None = None) -> None:
        with self._sending:
            self._connection.sendall(frames.pack(kind, items))

    def _receive(self) -> None:
        if self.options.pool != "gevent":  # where this runs in the main thread
            # The kernel may give an OS signal to any thread, but only in the main one does it end a sleep.
            signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
        try:
            for kind, items in frames.receive(self._connection):
                self._obey(kind, items)
        except OSError:
            pass  # the worker is gone, as on an orderly end of the stream
        finally:
            # Without a worker, or without this thread, nobody can settle what runs here; it will run elsewhere.
            if self._alone:
                exit_now(1 if self.page.running(self.position) or not self.inbox.empty() else 0)
            self._stop()

    def _obey(self, kind: int, items: list[Any]) -> None:
        assert self._engine is not None
        if kind == frames.RUN:
            self.worker_id = items[0]
            for serial, *claim in items[1:]:
                self.inbox.put((serial, Claim._make(claim)))
            self._engine.poke()
        elif kind == frames.RUN_BATCH:
            self.worker_id = items[0]
            self.inbox.put((items[1], Batch.of(map(Claim._make, items[2]))))
            self._engine.poke()
        elif kind == frames.RECALL:
            self._give_back()
        elif kind == frames.LIMIT:
            for serial in items:
                self._engine.limit(serial)
        elif kind == frames.INTERRUPT:
            self._engine.interrupt()
        elif kind == frames.ABORT:
            self.aborted.update(items)
            for task_id in items:
                self._engine.abort(task_id)
        elif kind == frames.STOP:
            self._stop()

    def _stop(self) -> None:
        self.stopping = True
        self.inbox.put(None)
        assert self._engine is not None
        self._engine.poke()

    def _give_back(self) -> None:
        unstarted: list[str] = []
        try:
            while (item := self.inbox.get_nowait()) is not None:
                unstarted += [claim.id for claim in members(item[1])]
            self._stop()  # it was the order to stop
        except Empty:
            pass
        self.report()
        self._send(frames.RETURNED, unstarted)


def exit_now(status: int) -> None:
    """End this process; only the standard streams are flushed."""
    # Not sys.exit: handlers registered with atexit belong to the process this one was forked from.
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            continue
    os._exit(status)
