"""The log lines of a worker: every one of them is written here."""

from __future__ import annotations

import logging
import platform

import django

import djqueue
from djqueue import events, signals
from djqueue.control.catalogue import CONTROL, find
from djqueue.records import Claim, Outcome
from djqueue.serializers import decode
from djqueue.states import Ending

logger = logging.getLogger("djqueue.worker")
tasks = logging.getLogger("djqueue.task")

FORMAT = "%(asctime)s %(levelname)-7s %(message)s"


def configure(level: str) -> None:
    """Send djqueue's log to stderr at this level, unless the site's LOGGING sends it elsewhere.

    A receiver of ``signals.setup_logging`` does it all instead.
    """
    if signals.setup_logging.receivers:
        signals.setup_logging.send(None, loglevel=level, logfile=None, format=FORMAT, colorize=False)
        return
    root = logging.getLogger("djqueue")
    root.setLevel(level)
    if not root.hasHandlers():
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter(FORMAT))
        root.addHandler(handler)
        root.propagate = False


@events.subscribe(events.WorkerStarted)
def started(event: events.WorkerStarted) -> None:
    logger.info(
        "worker %s ready: queues=%s pool=%s processes=%d concurrency=%d tasks=%d database=%r wake-ups=%s "
        "djqueue=%s django=%s python=%s",
        event.name,
        event.queues,
        event.pool,
        event.processes,
        event.concurrency,
        event.tasks,
        event.database,
        "notify" if event.listening else "polling",
        djqueue.__version__,
        django.get_version(),
        platform.python_version(),
    )
    if event.given:
        logger.info("worker %s was given: %s", event.name, ", ".join(event.given))


@events.subscribe(events.WorkerStopping)
def stopping(event: events.WorkerStopping) -> None:
    level = logging.INFO if event.how == "drain" else logging.WARNING
    if event.how == "give up":
        logger.error(
            "worker %s gives up waiting for the database; the %d tasks it holds come back when its lease ends",
            event.name,
            event.running,
        )
    else:
        logger.log(level, "worker %s: %s, %d running", event.name, event.how, event.running)


@events.subscribe(events.WorkerStopped)
def stopped(event: events.WorkerStopped) -> None:
    logger.info("worker %s stopped: %d attempts settled in %.0f s", event.name, event.settled, event.seconds)


@events.subscribe(events.TasksSettled)
def settled(event: events.TasksSettled) -> None:
    if not tasks.isEnabledFor(logging.WARNING):
        return
    wordy = tasks.isEnabledFor(logging.INFO)
    for claim, outcome in event.settled:
        if outcome.ending in (Ending.FAILED, Ending.LOST):
            _failed(claim, outcome)
        elif wordy and outcome.ending != Ending.RELEASED:
            started = outcome.started or claim.claimed
            tasks.info(
                "%s[%s] %s wait=%.3fs run=%.3fs attempt=%d queue=%s",
                claim.name,
                claim.id,
                "succeeded" if outcome.ending in (Ending.FORGOTTEN, Ending.SETTLED) else outcome.ending.name.lower(),
                started - claim.created,
                outcome.finished - started,
                claim.attempt,
                claim.queue,
            )


def _failed(claim: Claim, outcome: Outcome) -> None:
    error = decode(outcome.error) if outcome.error else {}
    started = outcome.started or claim.claimed
    trace = error.get("traceback")
    tasks.error(
        "%s[%s] %s wait=%.3fs run=%.3fs attempt=%d queue=%s: %s(%s)%s",
        claim.name,
        claim.id,
        outcome.ending.name.lower(),
        started - claim.created,
        max(0.0, outcome.finished - started),
        claim.attempt,
        claim.queue,
        error.get("exc_type"),
        ", ".join(map(repr, error.get("exc_message") or [error[key] for key in ("exc_text",) if key in error])),
        f"\n{trace.rstrip()}" if trace else "",
    )


@events.subscribe(events.OutcomesDropped)
def dropped(event: events.OutcomesDropped) -> None:
    logger.warning(
        "%d outcomes came after their lease was lost and were dropped (first: %s); the tasks run elsewhere",
        len(event.ids),
        event.ids[0],
    )


@events.subscribe(events.ExecutorLost)
def executor_lost(event: events.ExecutorLost) -> None:
    what = f"while it ran {event.task.name}[{event.task.id}]" if event.task else "while it ran nothing"
    what += f" and {event.lost - 1} others" if event.lost > 1 else ""
    logger.error(
        "executor %d %s %s; %d tasks that waited behind it go back", event.pid, event.how, what, event.returned
    )


@events.subscribe(events.ExecutorKilled)
def executor_killed(event: events.ExecutorKilled) -> None:
    logger.warning(
        "executor %d was killed to end task %s; %d other tasks of it go back",
        event.pid,
        ", ".join(event.ids),
        event.returned,
    )


@events.subscribe(events.WorkerReclaimed)
def reclaimed(event: events.WorkerReclaimed) -> None:
    logger.warning(
        "worker %s is gone: %d of its tasks are back in line, %d failed for good",
        event.worker,
        event.requeued,
        event.failed,
    )


@events.subscribe(events.CommandTaken)
def command_taken(event: events.CommandTaken) -> None:
    given = ", ".join(f"{name}={value!r}" for name, value in event.arguments.items())
    logger.log(_level_of(event.name), "command %s(%s)", event.name, given)


def _level_of(command: str) -> int:
    try:
        return logging.INFO if find(command).kind == CONTROL else logging.DEBUG
    except LookupError:
        return logging.INFO  # the site's own, which the worker does not know


@events.subscribe(events.PoolScaled)
def pool_scaled(event: events.PoolScaled) -> None:
    logger.info("worker %s: %d executors instead of %d, because %s", event.name, event.after, event.before, event.why)


@events.subscribe(events.ComponentBroken)
def component_broken(event: events.ComponentBroken) -> None:
    then = "it is given up" if event.again_in is None else f"it starts again in {event.again_in:g} s"
    logger.error("the component %s failed; %s\n%s", event.component, then, event.error)


@events.subscribe(events.PruningFailed)
def pruning_failed(event: events.PruningFailed) -> None:
    logger.warning("old tasks could not be pruned in time (%s); trying again in a minute", event.error)


@events.subscribe(events.Repaired)
def repaired(event: events.Repaired) -> None:
    logger.error(
        "the queue contradicted itself, as after changes by hand: %d rows of tasks that are elsewhere were removed",
        event.rows,
    )


@events.subscribe(events.LeaseLost)
def lease_lost(event: events.LeaseLost) -> None:
    logger.error(
        "worker %s lost its lease and aborts %d tasks, which run elsewhere; it begins again under a new id",
        event.name,
        event.aborted,
    )


@events.subscribe(events.DatabaseLost)
def database_lost(event: events.DatabaseLost) -> None:
    logger.warning(
        "%s: the database does not answer or refuses (%s); trying again until it does", event.purpose, event.error
    )


@events.subscribe(events.DatabaseBack)
def database_back(event: events.DatabaseBack) -> None:
    logger.warning("%s: the database is back after %.1f s", event.purpose, event.seconds)
