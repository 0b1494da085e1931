"""Revoking: cancel tasks that are enqueued already, or run."""

from __future__ import annotations

import signal as os_signals
from collections.abc import Mapping, Sequence
from typing import Any

from django.db import connections, transaction

from djqueue.conf import settings
from djqueue.exceptions import TaskRevokedError
from djqueue.serializers import encode_error
from djqueue.store.cancel import cancel
from djqueue.store.stamped import stamped
from djqueue.store.wakeup import call_for_cancellation
from djqueue.uuid7 import as_task_id

EXPECTED_SIGNAL = "expected signal to be an OS signal such as 'SIGTERM' or signal.SIGTERM"


def revoke(task_id: str | Sequence[str], terminate: bool = False, signal: str | int | None = None) -> set[str]:
    """Cancel tasks, by id; return the ids of those that were waiting and are cancelled now.

    A task that runs is asked to end: a coroutine is cancelled, any other finds out by ``self.is_aborted()``. With
    ``terminate`` the executor that runs it is killed; with ``signal`` too, it gets that OS signal first and 5 seconds
    to end by itself. An id that is not known yet is remembered for a day. A task that has finished stays as it is.

    In a transaction all of that happens when it commits. Raises ``ValueError`` for something that is no OS signal.
    """
    ids = [as_task_id(one) for one in ([task_id] if isinstance(task_id, str) else task_id)]
    signum = signal_number(signal)
    if signum is not None and not terminate:
        raise ValueError(f"expected signal only with terminate=True, got: signal={signal!r}")
    if not ids:
        return set()
    error = encode_error(TaskRevokedError("revoked"), with_traceback=False)
    connection = connections[settings.DATABASE]
    with connection.cursor() as cursor:
        cancelled = cancel(cursor, ids, error, terminate=terminate, signum=signum)
    if len(cancelled) < len(set(ids)) and (connection.in_atomic_block or connection.get_autocommit()):
        # A caller who commits by hand does so at a moment we cannot know; workers look at each heartbeat.
        # A function, since Django 5.2 cannot name a partial in its log and would raise.
        transaction.on_commit(lambda: call_for_cancellation(connection), using=connection.alias, robust=True)
    return cancelled


def terminate(task_id: str | Sequence[str], signal: str | int | None = None) -> set[str]:
    """Cancel tasks, and kill the executors of those that run: ``revoke`` with ``terminate=True``."""
    return revoke(task_id, terminate=True, signal=signal)


def revoke_by_stamped_headers(
    headers: Mapping[str, Any], terminate: bool = False, signal: str | int | None = None
) -> set[str]:
    """Cancel the tasks that carry one of these stamps; return the ids of those that were waiting and are cancelled now.

    ``headers`` says for each name the value, or a list of values, of which a task has one: ``{"customer": [7, 8]}``.
    It holds for tasks that exist and have not finished, in every state; ``terminate`` and ``signal`` are those of
    ``revoke``. Looks at all unfinished tasks.

    Raises ``TypeError`` for headers that are no mapping of names to values that JSON has.
    """
    if not isinstance(headers, Mapping) or not headers or not all(isinstance(name, str) for name in headers):
        raise TypeError(f"expected headers to map names of stamps to values, got: {headers!r}")
    wanted = {name: _as_list(value) for name, value in headers.items()}
    with connections[settings.DATABASE].cursor() as cursor:
        ids = stamped(cursor, wanted)
    return revoke(ids, terminate=terminate, signal=signal)


def _as_list(value: Any) -> list[Any]:
    return list(value) if isinstance(value, list | tuple | set | frozenset) else [value]


def signal_number(signal: str | int | None) -> int | None:
    """Return the number of an OS signal given by number or name, with or without ``SIG``."""
    if signal is None:
        return None
    if isinstance(signal, str):
        name = signal.upper()
        found = getattr(os_signals, name if name.startswith("SIG") else f"SIG{name}", None)
        if not isinstance(found, os_signals.Signals):
            raise ValueError(f"{EXPECTED_SIGNAL}, got: {signal!r}")
        return int(found)
    if isinstance(signal, bool) or not isinstance(signal, int) or signal not in os_signals.valid_signals():
        raise ValueError(f"{EXPECTED_SIGNAL}, got: {signal!r}")
    return int(signal)
