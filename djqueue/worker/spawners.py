"""Spawners: where executors come from. The fork server for processes, this very process for solo."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Callable
from queue import SimpleQueue
from time import monotonic
from typing import Protocol

from . import forkserver
from .announcements import Announcement, announce, has_receivers
from .forkserver import FAREWELL, MESSAGE, Message
from .site_commands import answer_in_site


class Spawner(Protocol):
    """Starts and kills executor processes."""

    def spawn(self, position: int, connection: socket.socket) -> None: ...

    def kill(self, pid: int, number: int) -> None: ...


class ForkSpawner:
    """The worker's end of the fork server."""

    def __init__(self, connection: socket.socket) -> None:
        self.on_spawned: Callable[[int, int], None]
        self.on_exited: Callable[[int, int], None]
        self.on_expired: Callable[[], None]
        self.on_gone: Callable[[], None]
        self._connection = connection

    def watch(self) -> None:
        """Begin to hear what becomes of the executors."""
        asyncio.get_running_loop().add_reader(self._connection.fileno(), self._hear)

    def unwatch(self) -> None:
        asyncio.get_running_loop().remove_reader(self._connection.fileno())

    def spawn(self, position: int, connection: socket.socket) -> None:
        with connection:
            message = MESSAGE.pack(*Message(forkserver.SPAWN, position))
            socket.send_fds(self._connection, [message], [connection.fileno()])

    def kill(self, pid: int, number: int) -> None:
        self._tell(Message(forkserver.KILL, pid, number))

    def lease(self, until: float) -> None:
        """Tell the watchdog when the executors must be dead unless it hears of a later time."""
        self._tell(Message(forkserver.LEASE, 0, until))

    def announce(self, what: Announcement, signum: int = 0) -> None:
        """Tell the site's receivers what becomes of the worker."""
        self._tell(Message(forkserver.ANNOUNCE, what, signum))

    def command(self, command_id: int, worker_id: int) -> None:
        """Have a command of the site's run, which stores its answer by itself."""
        self._tell(Message(forkserver.COMMAND, command_id, worker_id))

    def close(self) -> None:
        self._connection.close()

    def _tell(self, message: Message) -> None:
        try:
            self._connection.sendall(MESSAGE.pack(*message))
        except OSError:
            self.on_gone()

    def _hear(self) -> None:
        data = self._connection.recv(MESSAGE.size, socket.MSG_WAITALL)
        if len(data) < MESSAGE.size:
            self.unwatch()
            self.on_gone()
            return
        message = Message(*MESSAGE.unpack(data))
        if message.kind == forkserver.SPAWNED:
            self.on_spawned(message.subject, int(message.value))
        elif message.kind == forkserver.EXPIRED:
            self.on_expired()
        elif message.kind == forkserver.EXITED:
            self.on_exited(message.subject, int(message.value))


class SoloSpawner:
    """Hands the one executor's socket to the main thread, which runs tasks in the worker's own process.

    Nothing can be killed here. A task whose lease is about to end is interrupted, which one that catches
    ``BaseException`` or sits in C code does not heed.
    """

    def __init__(self, hostname: str) -> None:
        self._hostname = hostname
        self._announcing: list[threading.Thread] = []
        self.sockets: SimpleQueue[socket.socket | None] = SimpleQueue()
        self.on_spawned: Callable[[int, int], None]
        self.on_exited: Callable[[int, int], None]
        self.on_expired: Callable[[], None]
        self.on_gone: Callable[[], None]
        self.interrupt: Callable[[], None] = lambda: None
        """Interrupts the task that runs."""
        self._watchdog: asyncio.TimerHandle | None = None

    def watch(self) -> None:
        """Nothing to hear: an executor that dies takes the worker with it."""

    def unwatch(self) -> None:
        """Nothing was watched."""

    def spawn(self, position: int, connection: socket.socket) -> None:
        self.sockets.put(connection)
        asyncio.get_running_loop().call_soon(self.on_spawned, position, os.getpid())

    def kill(self, pid: int, number: int) -> None:
        self.interrupt()

    def lease(self, until: float) -> None:
        """Interrupt what runs at the monotonic time ``until`` unless a later time is set before."""
        if self._watchdog is not None:
            self._watchdog.cancel()
        pause = max(0.0, until - monotonic())
        self._watchdog = asyncio.get_running_loop().call_later(pause, self._expire)

    def _expire(self) -> None:
        self.on_expired()
        self.interrupt()

    def announce(self, what: Announcement, signum: int = 0) -> None:
        """Call the site's receivers in a thread of their own: whatever they do must not hold up the loop."""
        self._announcing = [thread for thread in self._announcing if thread.is_alive()]
        if what is Announcement.HEARTBEAT and any(thread.name == what.name for thread in self._announcing):
            return  # whoever listens is still busy with the last one
        if has_receivers(what):
            thread = threading.Thread(target=announce, args=(what, self._hostname, signum), name=what.name)
            thread.start()
            self._announcing.append(thread)

    def command(self, command_id: int, worker_id: int) -> None:
        """Run a command of the site's in a thread of its own."""
        thread = threading.Thread(
            target=answer_in_site, args=(command_id, worker_id), name=f"djqueue-command-{command_id}", daemon=True
        )
        thread.start()

    def bid_farewell(self) -> None:
        """Let the receivers come to their end."""
        deadline = monotonic() + FAREWELL
        for thread in self._announcing:
            thread.join(max(0.0, deadline - monotonic()))

    def close(self) -> None:
        self.sockets.put(None)
