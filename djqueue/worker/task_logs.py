"""Logs of tasks: what code writes to its loggers while an attempt runs, kept beside the task if the site asks for it.

Only the process that runs the attempt sees its records, so each executor has a handler on the root logger. The lines of
an attempt are stored in one row when it has ended; those of one that is killed die with its executor.
"""

from __future__ import annotations

import logging
import threading

from django.db import DatabaseError, connections

from djqueue.conf import settings
from djqueue.context import running_request
from djqueue.records import Claim
from djqueue.store.task_logs import write_log

KEPT_CHARACTERS = 64 * 1024
"""What is kept of an attempt; the end is dropped, since the cause stands at the beginning more often."""
FORMAT = "%(asctime)s %(levelname)-7s %(name)s: %(message)s"
CUT = "… the rest was not kept"

logger = logging.getLogger("djqueue.worker")


class Logbook(logging.Handler):
    """Collects lines by the id of the task that runs in the thread, coroutine or greenlet that logs."""

    def __init__(self, level: str) -> None:
        super().__init__(level)
        self.setFormatter(logging.Formatter(FORMAT))
        self._lines: dict[str, list[str]] = {}
        self._sizes: dict[str, int] = {}
        self._guard = threading.Lock()

    def emit(self, record: logging.LogRecord) -> None:
        request = running_request()
        if request is None or request.id is None or request.is_eager:
            return
        try:
            line = self.format(record).replace("\0", "�")
        except Exception:
            self.handleError(record)
            return
        with self._guard:
            size = self._sizes.get(request.id, 0)
            if size <= KEPT_CHARACTERS:
                self._sizes[request.id] = size + len(line) + 1
                full = size + len(line) > KEPT_CHARACTERS
                kept = f"{line[: KEPT_CHARACTERS - size]}\n{CUT}" if full else line
                self._lines.setdefault(request.id, []).append(kept)

    def take(self, task_id: str) -> str:
        """Return what a task has logged, and forget it."""
        with self._guard:
            self._sizes.pop(task_id, None)
            return "\n".join(self._lines.pop(task_id, ()))


logbooks: list[Logbook] = []
"""The logbook of this process, if logs are captured."""


def capture() -> None:
    """Begin to keep what tasks log in this process, if ``DJQUEUE["CAPTURE_LOGS"]`` names a level."""
    if settings.CAPTURE_LOGS is None or logbooks:
        return
    book = Logbook(settings.CAPTURE_LOGS)
    for name in ("", "djqueue.task"):
        found = logging.getLogger(name)
        # A logger drops what is below its level before any handler sees it.
        found.setLevel(min(found.getEffectiveLevel(), book.level))
        if name == "" or not _reaches_root(found):
            found.addHandler(book)
    logbooks.append(book)


def _reaches_root(found: logging.Logger) -> bool:
    here: logging.Logger | None = found
    while here is not None and here.parent is not None:
        if not here.propagate:
            return False
        here = here.parent
    return True


def store_log(claim: Claim) -> None:
    """Store what an attempt has logged. A failure is logged itself: it must not change how the attempt ended."""
    text = logbooks[0].take(claim.id)
    if not text:
        return
    try:
        with connections[settings.DATABASE].cursor() as cursor:
            write_log(cursor, claim.id, claim.attempt, text)
    except DatabaseError as error:
        logger.warning("what %s[%s] logged could not be stored: %s", claim.name, claim.id, error)
