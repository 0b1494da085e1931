"""Announcements: the signals that tell a site about its worker."""

from __future__ import annotations

import signal as os_signals
from enum import IntEnum

from djqueue import signals


class Announcement(IntEnum):
    READY = 1
    STOPPING = 2
    """It drains; asked again, it is sent once more, as a cold shutdown."""
    STOPPING_NOW = 3
    STOPPED = 4
    HEARTBEAT = 5


_SIGNALS = {
    Announcement.READY: signals.worker_ready,
    Announcement.STOPPING: signals.worker_shutting_down,
    Announcement.STOPPING_NOW: signals.worker_shutting_down,
    Announcement.STOPPED: signals.worker_shutdown,
    Announcement.HEARTBEAT: signals.heartbeat_sent,
}


def has_receivers(what: Announcement) -> bool:
    return bool(_SIGNALS[what].receivers)


def announce(what: Announcement, hostname: str, signum: int = 0) -> None:
    """Call the receivers. ``signum`` is the OS signal that asked the worker to stop, 0 if none did."""
    named: dict[str, object] = {}
    if what in (Announcement.STOPPING, Announcement.STOPPING_NOW):
        sig = os_signals.Signals(signum).name if signum else ""
        named = {"sig": sig, "how": "Warm" if what is Announcement.STOPPING else "Cold", "exitcode": 0}
    _SIGNALS[what].send(hostname, **named)
