"""Wake-ups: tell idle workers that a queue has tasks. An accelerator only; workers poll as well.

NOTIFY takes a lock on the whole database until its transaction has committed (16 clients fell from 3,878 to 2,020
commits a second), so it never runs in the user's transaction and at most once per queue in 20 ms. Whatever is enqueued
in between is found by the polling of the worker that was woken, or announced when its producer begins to wait for it.
"""

from __future__ import annotations

import logging
import time

from django.db.backends.base.base import BaseDatabaseWrapper

CHANNEL = "djqueue"
DUE = "~"
"""Begins a payload that says in how many seconds a scheduled task is due; any other payload names a queue."""
CANCEL = "!"
"""The payload that says that a running task is to be cancelled."""
COMMAND = "?"
"""The payload that says that workers are asked something."""
PAUSE = "="
"""The payload that says that something was paused or resumed."""
SOON = 1.0
"""Seconds ahead that workers look by themselves; nobody needs to be told of what is due later."""
INTERVAL = 0.02
"""Seconds between two wake-ups of one queue by one process."""

# The commit of a NOTIFY holds the lock while it waits for the disk, and there is nothing to keep.
NOTIFY = "SELECT set_config('synchronous_commit', 'off', true), pg_notify(%s, %s)"

logger = logging.getLogger("djqueue.wakeup")

_last_sent: dict[tuple[str, str], float] = {}
_held_back: dict[tuple[str, str], tuple[str, float]] = {}


def wake(connection: BaseDatabaseWrapper, queue: str, due_in: float | None = None) -> None:
    """Tell workers that ``queue`` has tasks, or when a scheduled task is due if they would not look by then.

    Call it outside a transaction, after the commit.
    """
    if due_in is None:
        _send(connection, queue, queue)
    elif due_in <= SOON:
        _send(connection, DUE, f"{DUE}{max(0.0, due_in):.3f}")


def call_for_cancellation(connection: BaseDatabaseWrapper) -> None:
    """Tell workers to look for cancellations among what they run. Call it outside a transaction, after the commit."""
    _send(connection, CANCEL, CANCEL)


def call_for_command(connection: BaseDatabaseWrapper) -> None:
    """Tell workers to look for commands. Call it outside a transaction, after the commit."""
    _notify(connection, COMMAND)


def call_for_pauses(connection: BaseDatabaseWrapper) -> None:
    """Tell workers to look what is paused. Call it outside a transaction, after the commit."""
    _notify(connection, PAUSE)


def send_held_back(connection: BaseDatabaseWrapper) -> None:
    """Send the wake-ups that the interval held back, because this process now waits for a result.

    A process that waits enqueues nothing meanwhile, so this bounds itself.
    """
    if not _held_back or connection.in_atomic_block or not connection.get_autocommit():
        return
    for (alias, topic), (payload, since) in list(_held_back.items()):
        if alias != connection.alias:
            continue
        _held_back.pop((alias, topic), None)
        if time.monotonic() - since < SOON:
            _last_sent.pop((alias, topic), None)
            _send(connection, topic, payload)


def _send(connection: BaseDatabaseWrapper, topic: str, payload: str) -> None:
    """Notify in a short transaction of its own, unless something of this topic went out just now."""
    key = connection.alias, topic
    now = time.monotonic()
    if now - _last_sent.get(key, 0.0) < INTERVAL:
        _held_back[key] = payload, now
        return
    _last_sent[key] = now
    _held_back.pop(key, None)
    _notify(connection, payload)


def _notify(connection: BaseDatabaseWrapper, payload: str) -> None:
    try:
        # Straight on the driver: it is not one of the caller's statements, and no wrapper of theirs should see it.
        connection.connection.execute(NOTIFY, (CHANNEL, payload))
    except Exception as error:
        # What it tells of is committed; all that is lost is some time.
        logger.debug("wake-up %r not sent: %s", payload, error)
