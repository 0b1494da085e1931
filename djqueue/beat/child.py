"""A beat as a child of a worker (``runworker --beat``): it ends with the worker, and the worker learns of its end."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
import traceback
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from django.core.exceptions import ImproperlyConfigured
from django.db import connections

from .beat import Beat
from .start import prepare

PATIENCE = 5.0
"""Seconds that the beat has to end what is under way."""


class BeatFailed(Exception):
    """The beat could not start; it has written why to stderr."""


class BeatChild:
    """Forks a beat. Make it in the main thread, before other threads are there. Raises ``BeatFailed``.

    ``others`` are sockets of this process that the beat must not hold open: their other ends wait for their end.
    """

    def __init__(self, *others: socket.socket) -> None:
        connections.close_all()
        self._lifeline, theirs = socket.socketpair()
        self.pid = os.fork()
        if self.pid == 0:
            for inherited in (self._lifeline, *others):
                inherited.close()
            _be_beat(theirs)
        theirs.close()
        if not self._lifeline.recv(1):
            os.waitpid(self.pid, 0)
            raise BeatFailed("the beat could not be started")

    def watch(self, gone: Callable[[], object]) -> None:
        """Call ``gone`` in the running loop when the beat ends by itself."""
        loop = asyncio.get_running_loop()

        def ended() -> None:
            loop.remove_reader(self._lifeline)
            gone()

        loop.add_reader(self._lifeline, ended)

    def end(self) -> None:
        """Let the beat end; kill it if it does not."""
        self._lifeline.close()
        deadline = time.monotonic() + PATIENCE
        with suppress(ChildProcessError):
            while os.waitpid(self.pid, os.WNOHANG) == (0, 0):
                if time.monotonic() > deadline:
                    os.kill(self.pid, signal.SIGKILL)
                    os.waitpid(self.pid, 0)
                    return
                time.sleep(0.01)


def _be_beat(lifeline: socket.socket) -> None:
    """Be a beat until the other end of the lifeline is closed, and end the process."""
    code = 1
    try:
        # The terminal and service managers signal the whole group; the worker decides what follows.
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, _do_nothing)
        prepare()
        beat = Beat()
        threading.Thread(target=_hold, args=(lifeline, beat), name="djqueue-lifeline", daemon=True).start()
        lifeline.sendall(b"\1")
        beat.run()
        code = 0
    except ImproperlyConfigured as error:
        print(error, file=sys.stderr, flush=True)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _hold(lifeline: socket.socket, beat: Beat) -> None:
    with suppress(OSError):
        lifeline.recv(1)
    beat.stop()


def _do_nothing(signum: int, frame: Any) -> None:
    """Let system calls go on."""
