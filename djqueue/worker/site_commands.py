"""Commands of the site's: run where its code is loaded, not in the worker, and answered from there."""

from __future__ import annotations

import logging
import signal
from typing import Any

from django.db import connections

from djqueue.conf import settings
from djqueue.control.catalogue import WorkerState, find
from djqueue.exceptions import EncodeError
from djqueue.serializers import encode
from djqueue.store.commands import SiteCommand, answer_from_site, read_site_command

REPLY_MOST = 1024 * 1024
"""Characters of a reply at the most."""

logger = logging.getLogger("djqueue.worker")


def answer_in_process(command_id: int, worker_id: int) -> None:
    """Obey one command, in a process that does nothing else and ends with the time that the command has."""
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    answer_in_site(command_id, worker_id, limited=True)


def answer_in_site(command_id: int, worker_id: int, *, limited: bool = False) -> None:
    """Obey one command and store the reply. ``limited``: end this process when the command expires."""
    try:
        with connections[settings.DATABASE].cursor() as cursor:
            command = read_site_command(cursor, command_id, worker_id)
        if command is None or command.left <= 0:
            return
        if limited:
            signal.setitimer(signal.ITIMER_REAL, command.left)
        value, error = _obey(command, worker_id)
        with connections[settings.DATABASE].cursor() as cursor:
            answer_from_site(cursor, command_id, worker_id, value, error)
    except Exception:
        logger.exception("command %d was not answered", command_id)
    finally:
        connections.close_all()


def _obey(command: SiteCommand, worker_id: int) -> tuple[str | None, str | None]:
    state = WorkerState(
        command.worker, worker_id, command.pid, command.queues, command.pool, command.processes, command.concurrency
    )
    try:
        known = find(command.name)
        if known.function is None:
            raise LookupError(f"{known} is not a command of the site's")
        arguments = known.bind(command.arguments)
    except (LookupError, ValueError) as error:
        return None, str(error)
    try:
        return stored(command.name, known.function(state, **arguments)), None
    except EncodeError as error:
        return None, str(error)
    except Exception as error:
        logger.exception("command %s failed", command.name)
        return None, f"{type(error).__name__}: {error}"


def stored(name: str, value: Any) -> str:
    """Return a reply as JSON text. Raises ``EncodeError`` if that cannot be stored."""
    try:
        text = encode(value)
    except EncodeError as error:
        raise EncodeError(f"the reply of {name} cannot be stored: {error}") from None
    if len(text) > REPLY_MOST:
        raise EncodeError(f"the reply of {name} has {len(text):,} characters, and may have {REPLY_MOST:,}")
    return text
