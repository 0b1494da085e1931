"""Rules of settings: what makes no sense although each value is of the right kind, as messages with hints."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING

from .routing import is_queue_name

if TYPE_CHECKING:
    from .conf import Settings

KEPT = ("SCHEDULE_RUNS_KEPT", "STATISTICS_KEPT", "LOGS_KEPT")
LEVELS = ("DEBUG", "INFO", "WARNING", "ERROR", "CRITICAL")

Problems = list[tuple[str, str]]


def kept_for_less_than_nothing(settings: Settings) -> Problems:
    return [
        (f"expected DJQUEUE[{name!r}] to be 0 or more, got: {kept!r}", "")
        for name in KEPT
        if (kept := getattr(settings, name)) is not None
        and (kept < (timedelta(0) if isinstance(kept, timedelta) else 0))
    ]


def not_accepted(settings: Settings) -> Problems:
    return [
        (
            f"DJQUEUE[{name!r}] is {getattr(settings, name)!r}, which DJQUEUE['ACCEPT_CONTENT'] does not list",
            "Workers would refuse what the site stores.",
        )
        for name in ("SERIALIZER", "RESULT_SERIALIZER")
        if getattr(settings, name) not in settings.ACCEPT_CONTENT
    ]


def misnamed(settings: Settings) -> Problems:
    found = [
        (f"expected DJQUEUE['BROADCAST_QUEUES'] to name queues, got: {queue!r}", "")
        for queue in settings.BROADCAST_QUEUES
        if not is_queue_name(queue)
    ]
    if not is_queue_name(settings.DEFAULT_QUEUE):
        found.append((f"expected DJQUEUE['DEFAULT_QUEUE'] to name a queue, got: {settings.DEFAULT_QUEUE!r}", ""))
    if settings.CAPTURE_LOGS not in (None, *LEVELS):
        levels = ", ".join(LEVELS)
        found.append((f"expected DJQUEUE['CAPTURE_LOGS'] to be one of {levels}, got: {settings.CAPTURE_LOGS!r}", ""))
    return found
