"""Load: waiting tasks, and the time in which a worker settles all of them.

Measured as for the peers: from the start of the first body to the last row settled in the store, both by the
database's clock. The start of the worker is not counted; the time in which it learns how long tasks take is.
"""

from __future__ import annotations

import time
from contextlib import suppress
from typing import NamedTuple

import psycopg

from djqueue.definition import TaskDefinition

from .workers import Worker

TABLES = (
    "djqueue_task, djqueue_readytask, djqueue_scheduledtask, djqueue_runningtask, djqueue_taskresult, "
    "djqueue_taskattempt, djqueue_waitingtask, djqueue_taskgroup, djqueue_parkedtask, djqueue_concurrencyslot, "
    "djqueue_rategate, djqueue_streamticket, djqueue_uniquekey, djqueue_statistic"
)
SETTLED = """
SELECT count(*), extract(epoch FROM clock_timestamp())::double precision
FROM djqueue_taskresult WHERE task_id BETWEEN %s AND %s
"""
# Of a task whose result is ignored nothing is left.
LEFT = """
SELECT count(*), extract(epoch FROM clock_timestamp())::double precision
FROM djqueue_task WHERE id BETWEEN %s AND %s
"""
FIRST_START = """
SELECT extract(epoch FROM min(started_at))::double precision, count(*) FILTER (WHERE state <> 5)
FROM djqueue_taskresult WHERE task_id BETWEEN %s AND %s
"""
FASTEST = 100_000
"""Tasks per second that no worker reaches: a pause between two looks is no longer than the rest must take."""
SHORTEST_PAUSE, LONGEST_PAUSE = 0.005, 0.5


class Load(NamedTuple):
    """Tasks that were enqueued together: ids are time-ordered, so two of them name them all."""

    lowest: str
    highest: str
    size: int


def empty(connection: psycopg.Connection) -> None:
    """Forget all tasks, and write out what earlier runs have left to write."""
    emptied = False
    while not emptied:
        # A worker that looks at the queue meanwhile takes its locks in an order of its own.
        with suppress(psycopg.errors.DeadlockDetected):
            connection.execute(f"TRUNCATE {TABLES}")
            emptied = True
    connection.execute("CHECKPOINT")


def forget_tasks(connection: psycopg.Connection) -> None:
    """Forget all tasks, but not the unique keys that they held."""
    connection.execute("TRUNCATE " + TABLES.replace(", djqueue_uniquekey", ""))


def enqueue(definition: TaskDefinition, size: int, *args: object) -> Load:
    ids = [result.id for result in definition.delay_many((args, {}) for _ in range(size))]
    return Load(min(ids), max(ids), size)


def seconds_to_settle(connection: psycopg.Connection, load: Load, worker: Worker) -> float:
    """Wait for the last task of a load; return the seconds since its first one started."""
    return _await(connection, load, worker, SETTLED, target=load.size) - _first_start(connection, load)


def seconds_to_forget(connection: psycopg.Connection, first: Load, load: Load, worker: Worker) -> float:
    """The same for a load whose results are ignored; ``first``, enqueued before it, says when work began."""
    return _await(connection, load, worker, LEFT, target=0) - _first_start(connection, first)


def _await(connection: psycopg.Connection, load: Load, worker: Worker, query: str, target: int) -> float:
    while True:
        count, now = connection.execute(query, load[:2]).fetchone()
        if count == target:
            return now
        worker.check()
        time.sleep(min(LONGEST_PAUSE, max(SHORTEST_PAUSE, abs(target - count) / FASTEST)))


def _first_start(connection: psycopg.Connection, load: Load) -> float:
    started, unsuccessful = connection.execute(FIRST_START, load[:2]).fetchone()
    if unsuccessful:
        raise RuntimeError(f"expected all tasks to succeed, but {unsuccessful} of {load.size} did not")
    return started
