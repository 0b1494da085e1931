"""Processes that are forked instead of started: their Django is loaded already, which is most of what a start costs.

Each runs a command as ``python -m django`` does, with settings, output and a session of its own. What they do not
get is another environment at the start of the interpreter: whatever needs that is started as a program.
"""

from __future__ import annotations

import gc
import json
import os
import select
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

PROJECT_DIR = Path(__file__).resolve().parent.parent
SETTINGS = "tests.worker_settings"
NUMBER = struct.Struct("!i")
LARGEST_REQUEST = 1 << 20


class Nursery:
    """The end that the tests hold. What was forked ends with the process that holds it."""

    def __init__(self) -> None:
        self._connection: socket.socket | None = None
        self._process: subprocess.Popen[bytes] | None = None

    def fork(self, arguments: Sequence[str], given: dict[str, Any], output: int) -> Forked:
        """Run a command of Django with these worker settings; it writes to the file descriptor ``output``."""
        if self._connection is None:
            self._connection, self._process = _start(given)
        ended, ended_writer = os.pipe()
        try:
            request = json.dumps([arguments, given]).encode()
            socket.send_fds(self._connection, [request], [output, ended_writer])
        finally:
            os.close(ended_writer)
        return Forked(NUMBER.unpack(self._connection.recv(NUMBER.size))[0], ended)


class Forked:
    """What ``subprocess.Popen`` is to a program."""

    def __init__(self, pid: int, ended: int) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._ended = ended

    def wait(self, timeout: float | None = None) -> int:
        """Wait so many seconds for the end and return the exit code; the negative number of a signal that ended it."""
        if self.returncode is None:
            readable, _, _ = select.select([self._ended], [], [], timeout)
            if not readable:
                raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
            self.returncode = NUMBER.unpack(os.read(self._ended, NUMBER.size))[0]
            os.close(self._ended)
        return self.returncode

    def poll(self) -> int | None:
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


def _start(given: dict[str, Any]) -> tuple[socket.socket, subprocess.Popen[bytes]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with theirs:
        process = subprocess.Popen(
            [sys.executable, "-m", "tests.nursery", str(theirs.fileno())],
            cwd=PROJECT_DIR,
            env=environment_for(given),
            stdin=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
            start_new_session=True,
        )
    return ours, process


def environment_for(given: dict[str, Any]) -> dict[str, str]:
    """Return the environment in which ``tests.worker_settings`` are these."""
    return {
        **os.environ,
        "DJANGO_SETTINGS_MODULE": SETTINGS,
        "WORKER_SETTINGS": json.dumps(given),
        # Read by the settings that the workers' settings are made of, which would start a server without it.
        "DATABASE_URL": "postgres:///replaced",
        "PYTHONUNBUFFERED": "1",
    }


# What follows runs in the process that forks.


def load() -> None:
    """Import what commands need, and connect to nothing."""
    import django

    django.setup()
    import django.db.backends.postgresql.base

    import djqueue.management.commands.runbeat
    import djqueue.management.commands.runworker  # noqa: F401

    # What all share is not looked through again by the collector of each.
    gc.collect()
    gc.freeze()


def serve(connection: socket.socket) -> list[str]:
    """Fork as often as asked; return in each child what it is to run."""
    children: dict[int, int] = {}
    wakeup, wakeup_writer = os.pipe()
    os.set_blocking(wakeup_writer, False)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.set_wakeup_fd(wakeup_writer, warn_on_full_buffer=False)
    while True:
        readable, _, _ = select.select([connection, wakeup], [], [])
        if wakeup in readable:
            os.read(wakeup, 4096)
            _reap(children)
        if connection not in readable:
            continue
        request, descriptors, _, _ = socket.recv_fds(connection, LARGEST_REQUEST, 2)
        if not request:
            _end(children)
        output, ended = descriptors
        if (pid := os.fork()) == 0:
            signal.set_wakeup_fd(-1)
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            for inherited in (wakeup, wakeup_writer, ended, *children.values()):
                os.close(inherited)
            return _become(connection, output, *json.loads(request))
        os.close(output)
        children[pid] = ended


def _reap(children: dict[int, int]) -> None:
    for pid in list(children):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            ended = children.pop(pid)
            with suppress(BrokenPipeError):  # nobody wants to know
                os.write(ended, NUMBER.pack(os.waitstatus_to_exitcode(status)))
            os.close(ended)


def _end(children: dict[int, int]) -> None:
    for pid in children:
        os.kill(pid, signal.SIGKILL)
    os._exit(0)


def _become(connection: socket.socket, output: int, arguments: list[str], given: dict[str, Any]) -> list[str]:
    """Be as a program would that was started with these settings and this output."""
    os.setsid()
    os.dup2(output, 1)
    os.dup2(output, 2)
    os.close(output)
    connection.sendall(NUMBER.pack(os.getpid()))
    connection.close()
    os.environ["WORKER_SETTINGS"] = json.dumps(given)
    _apply(given)
    return arguments


def _apply(given: dict[str, Any]) -> None:
    from django.conf import settings
    from django.core.signals import setting_changed
    from django.db import connections

    from .worker_settings import made_of

    settings.DATABASES, settings.DJQUEUE = made_of(given)
    for unused in connections.all(initialized_only=True):
        assert unused.connection is None
        del connections[unused.alias]
    connections.settings = connections.configure_settings(settings.DATABASES)
    setting_changed.send(sender=None, setting="DJQUEUE", value=settings.DJQUEUE, enter=True)


if __name__ == "__main__":
    load()
    arguments = serve(socket.socket(fileno=int(sys.argv[1])))
    import django.__main__ as program
    from django.core.management import execute_from_command_line

    sys.argv = [str(program.__file__), *arguments]
    execute_from_command_line(sys.argv)
