"""The log lines of a beat: every one of them is written here."""

from __future__ import annotations

import logging
import platform

import django

import djqueue
from djqueue import events

logger = logging.getLogger("djqueue.beat")


@events.subscribe(events.BeatStarted)
def started(event: events.BeatStarted) -> None:
    logger.info(
        "beat ready: database=%r changes=%s djqueue=%s django=%s python=%s",
        event.database,
        "notify" if event.listening else "polling",
        djqueue.__version__,
        django.get_version(),
        platform.python_version(),
    )


@events.subscribe(events.BeatStopped)
def stopped(event: events.BeatStopped) -> None:
    logger.info("beat stopped: %d tasks enqueued in %.0f s", event.fired, event.seconds)


@events.subscribe(events.SlotPassed)
def slot_passed(event: events.SlotPassed) -> None:
    due = event.due_at.isoformat()
    match event.fate:
        case "ENQUEUED":
            logger.info("%s enqueued %s due=%s late=%.3fs", event.schedule, event.task_id, due, event.late)
        case "SKIPPED":
            logger.info("%s skipped due=%s: its last task has not finished", event.schedule, due)
        case "MISSED":
            logger.warning("%s missed its run of %s, %.0f s ago, and maybe later ones", event.schedule, due, event.late)
        case "FAILED":
            logger.error("%s could not enqueue its run of %s: %s", event.schedule, due, event.note)


@events.subscribe(events.ScheduleBroken)
def broken(event: events.ScheduleBroken) -> None:
    logger.error("%s makes no sense and is left out for now: %s", event.schedule, event.error)


@events.subscribe(events.SchedulesSynced)
def synced(event: events.SchedulesSynced) -> None:
    for what, names in (("added", event.added), ("changed", event.changed)):
        if names:
            logger.info("declared schedules %s: %s", what, ", ".join(names))
    if event.retired:
        logger.warning("schedules that are no longer declared are switched off: %s", ", ".join(event.retired))
    if event.taken:
        logger.warning("declared schedules whose name the admin has taken are left out: %s", ", ".join(event.taken))
