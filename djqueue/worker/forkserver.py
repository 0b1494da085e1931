"""The fork server: a process that has the site and its tasks loaded, and forks executors from it.

It is forked from the worker before the worker's loop starts, runs no task, and is the parent of all executors: it
knows how each of them ended. It is also the watchdog of the lease: should the worker be stopped or stuck while its
lease runs out, the executors are killed before another worker may start their tasks.

Messages have a fixed size, so that a file descriptor travels with the message it belongs to.
"""

from __future__ import annotations

import gc
import os
import select
import signal
import socket
import struct
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any, NamedTuple

from django.db import connections

from djqueue import registry, signals

from . import frames
from .announcements import Announcement, announce, has_receivers
from .batches import Rules, rules_of_all
from .engines import serve
from .executor import Executor, exit_now
from .options import ExecutorOptions, PoolRefuses, refuse_what_tasks_need
from .patched import become_executor
from .progress import ProgressPage
from .site_commands import answer_in_process

MESSAGE = struct.Struct("!iqd")

GRACE = 1.0
"""Seconds that executors have to end after their worker did."""
FAREWELL = 5.0
"""Seconds that receivers of ``worker_shutdown`` have."""

SPAWN, KILL, LEASE, SPAWNED, EXPIRED, EXITED, ANNOUNCE, COMMAND = range(1, 9)


class Message(NamedTuple):
    """``subject`` is an executor's position or process id, an ``Announcement``, or the id of a command.

    ``value`` is an OS signal, a wait status, a monotonic time in seconds, or the id of the worker.
    """

    kind: int
    subject: int
    value: float = 0.0


Rates = dict[str, tuple[str, bool] | None]
"""The rate limit that each task declares, by its name, and whether that is strict; None for no limit."""


class Loaded(NamedTuple):
    """What the worker has to know of the definitions that are loaded: the rate limit of each, and how some batch."""

    rates: Rates
    batches: Rules


def loaded() -> Loaded:
    """Return what the definitions that this process has loaded ask for."""
    limits = {name: registry.get(name).limits for name in registry.names()}
    rates = {name: (limit.rate, limit.strict) if limit.rate else None for name, limit in limits.items()}
    return Loaded(rates, rules_of_all())


class ForkServerFailed(Exception):
    """The tasks could not be loaded; the message is the traceback."""


def start(page: ProgressPage, options: ExecutorOptions) -> tuple[int, socket.socket, Loaded]:
    """Fork the server; return its process id, the socket to talk to it, and what the tasks it has loaded ask for.

    Raises ``ForkServerFailed`` if a module with tasks cannot be imported, and ``PoolRefuses``.
    """
    connections.close_all()
    ours, theirs = socket.socketpair()
    pid = os.fork()
    if pid == 0:
        ours.close()
        _serve_and_exit(theirs, page, options)
    theirs.close()
    for refused, (succeeded, payload) in frames.receive(ours):
        if not succeeded:
            os.waitpid(pid, 0)
            raise (PoolRefuses if refused else ForkServerFailed)(payload)
        return pid, ours, Loaded(*payload)
    raise ForkServerFailed("the fork server died while it loaded the tasks")


def _serve_and_exit(connection: socket.socket, page: ProgressPage, options: ExecutorOptions) -> None:
    try:
        try:
            registry.load_all()
            signals.worker_init.send(options.hostname)
            refuse_what_tasks_need(options.pool, map(registry.get, registry.names()))
        except PoolRefuses as error:
            connection.sendall(frames.pack(1, [False, str(error)]))
            os._exit(1)
        except BaseException:
            connection.sendall(frames.pack(0, [False, traceback.format_exc()]))
            os._exit(1)
        connections.close_all()
        gc.collect()
        # What is loaded now is never collected: the collector would copy the shared pages only to look at them.
        gc.freeze()
        connection.sendall(frames.pack(0, [True, tuple(loaded())]))
        _ForkServer(connection, page, options).serve()
    finally:
        os._exit(0)


class _ForkServer:
    def __init__(self, connection: socket.socket, page: ProgressPage, options: ExecutorOptions) -> None:
        self._connection = connection
        self._page = page
        self._options = options
        self._children: set[int] = set()
        self._announcing: set[int] = set()
        self._last_heartbeat = 0
        self._lease_until: float | None = None

    def serve(self) -> None:
        wakeup, wakeup_writer = os.pipe()
        os.set_blocking(wakeup_writer, False)
        signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
        # A terminal or a service manager signals the whole group; only the worker decides what follows.
        # Handlers, unlike SIG_IGN, are not inherited by programs that a task starts.
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGCHLD):
            signal.signal(number, _do_nothing)
        while True:
            watched: list[Any] = [self._connection, wakeup]
            readable, _, _ = select.select(watched, [], [], self._patience())
            if self._lease_until is not None and time.monotonic() >= self._lease_until:
                self._tell(Message(EXPIRED, 0))
                self._kill_all()
            if wakeup in readable:
                os.read(wakeup, 4096)
                self._reap()
            if self._connection in readable and not self._obey(wakeup, wakeup_writer):
                self._end()
                return

    def _patience(self) -> float | None:
        return None if self._lease_until is None else max(0.0, self._lease_until - time.monotonic())

    def _obey(self, *ours: int) -> bool:
        """Carry out one message; False when the worker is gone."""
        data, descriptors, _, _ = socket.recv_fds(self._connection, MESSAGE.size, 1)
        if len(data) < MESSAGE.size:
            return False
        message = Message(*MESSAGE.unpack(data))
        if message.kind == SPAWN:
            self._spawn(message.subject, descriptors[0], ours)
        elif message.kind == KILL and message.subject in self._children:
            os.kill(message.subject, int(message.value))
        elif message.kind == LEASE:
            self._lease_until = message.value
        elif message.kind == ANNOUNCE:
            self._announce(Announcement(message.subject), int(message.value), ours)
        elif message.kind == COMMAND:
            self._announcing.add(self._fork(ours, lambda: answer_in_process(message.subject, int(message.value))))
        return True

    def _fork(self, ours: tuple[int, ...], run: Callable[[], object]) -> int:
        """Run something of the site's in a process of its own: whatever it does must not hold up the watchdog."""
        pid = os.fork()
        if pid == 0:
            self._become_child(ours)
            try:
                run()
            finally:
                exit_now(0)
        return pid

    def _announce(self, what: Announcement, signum: int, ours: tuple[int, ...]) -> None:
        """Call the site's receivers."""
        if what is Announcement.HEARTBEAT and self._last_heartbeat in self._announcing:
            return  # whoever listens is still busy with the last one
        if has_receivers(what):
            pid = self._fork(ours, lambda: announce(what, self._options.hostname, signum))
            self._announcing.add(pid)
            if what is Announcement.HEARTBEAT:
                self._last_heartbeat = pid

    def _spawn(self, position: int, descriptor: int, ours: tuple[int, ...]) -> None:
        pid = os.fork()
        if pid == 0:
            self._become_child(ours)
            _run_executor(socket.socket(fileno=descriptor), self._page, position, self._options)
        os.close(descriptor)
        self._children.add(pid)
        self._tell(Message(SPAWNED, position, pid))

    def _become_child(self, ours: tuple[int, ...]) -> None:
        signal.set_wakeup_fd(-1)
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        self._connection.close()
        for inherited in ours:
            os.close(inherited)

    def _reap(self) -> None:
        while self._children or self._announcing:
            try:
                pid, status = os.waitpid(-1, os.WNOHANG)
            except ChildProcessError:
                return
            if pid == 0:
                return
            self._announcing.discard(pid)
            if pid in self._children:
                self._children.discard(pid)
                self._tell(Message(EXITED, pid, status))

    def _end(self) -> None:
        """The worker is gone. Executors see that too and end by themselves, unless C code keeps them from looking."""
        deadline = time.monotonic() + GRACE
        while self._children and time.monotonic() < deadline:
            time.sleep(0.01)
            self._reap()
        self._kill_all()
        deadline = time.monotonic() + FAREWELL
        while self._announcing and time.monotonic() < deadline:
            time.sleep(0.01)
            self._reap()
        for pid in self._announcing:
            os.kill(pid, signal.SIGKILL)

    def _kill_all(self) -> None:
        self._lease_until = None
        for pid in self._children:
            os.kill(pid, signal.SIGKILL)

    def _tell(self, message: Message) -> None:
        with suppress(OSError):  # a worker that is gone is noticed by the next read
            self._connection.sendall(MESSAGE.pack(*message))


def _run_executor(connection: socket.socket, page: ProgressPage, position: int, options: ExecutorOptions) -> None:
    """Be an executor for the rest of this process."""
    if options.pool == "gevent":
        become_executor(connection, page, position, options)
    status = 1
    try:
        serve(Executor(connection, page, position, options))
        status = 0
    finally:
        exit_now(status)


def _do_nothing(signum: int, frame: Any) -> None:
    """Let system calls go on; the main loop looks by itself."""
