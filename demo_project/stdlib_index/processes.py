"""Runs `manage.py` commands beside this one, and stops them whatever way this one ends."""

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from django.conf import settings
from django.core.management import CommandError

STOP_SECONDS = 20


@contextmanager
def running(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """Run `manage.py ARGUMENTS` in a process group of its own, so that Ctrl-C leaves its end to us."""
    process = subprocess.Popen([sys.executable, str(settings.BASE_DIR / "manage.py"), *arguments], process_group=0)
    try:
        yield process
    finally:
        _stop(process)


def _stop(process: subprocess.Popen[bytes]) -> None:
    with suppress(ProcessLookupError):
        process.terminate()
    try:
        with suppress(subprocess.TimeoutExpired):
            process.wait(STOP_SECONDS)
    finally:
        # Also after a clean end: a process that was killed may have left its own children.
        with suppress(OSError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def check_alive(process: subprocess.Popen[bytes]) -> None:
    """Raise ``CommandError`` if the process has ended, which it should not do by itself."""
    if process.poll() is not None:
        command = " ".join(map(str, process.args))
        raise CommandError(
            f"Expected `{command}` to go on, but it ended with exit code {process.returncode}. "
            "What it said about that stands above."
        )


def stop_on_signals() -> None:
    """Leave by way of the ``finally`` blocks on SIGTERM and on a closed terminal, as on Ctrl-C.

    SIGINT too is set, because a shell lets what it starts in the background ignore it.
    """

    def leave(signum: int, frame: FrameType | None) -> None:
        sys.exit(128 + signum)

    signal.signal(signal.SIGINT, signal.default_int_handler)
    signal.signal(signal.SIGTERM, leave)
    signal.signal(signal.SIGHUP, leave)
