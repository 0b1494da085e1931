"""Whether urgent tasks get through as fast among a million ready and a million scheduled ones as alone.

The others are loaded by SQL into another queue and are never analysed, so that the planner knows nothing of
them. The worker serves all queues; the urgent tasks come first by their priority.
"""

from __future__ import annotations

import argparse
from typing import Any

import psycopg

from benchmarks.lab import load
from benchmarks.lab.figures import median, say
from benchmarks.lab.site import Site
from benchmarks.lab.workers import running_worker
from benchmarks.tasks import noop, noop_urgent

TASKS = """
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs)
SELECT format('01900000-0000-7000-8000-%%s', lpad(to_hex(number), 12, '0'))::uuid, %s, 'bulk', 0, '[]', '{}'
FROM generate_series(%s::integer, %s::integer) AS number
"""
READY = """
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, priority, id, 0 FROM djqueue_task ORDER BY id
"""
SCHEDULED = """
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT now() + interval '1 day' + row_number() OVER (ORDER BY id) * interval '1 ms', id, 0, 1
FROM djqueue_task
WHERE id > format('01900000-0000-7000-8000-%%s', lpad(to_hex(%s::integer), 12, '0'))::uuid
"""
NEVER_ANALYSE = "ALTER TABLE {} SET (autovacuum_analyze_threshold = 2000000000)"
ANALYSED = """
SELECT count(*) FROM pg_stat_user_tables
WHERE relname LIKE 'djqueue%%' AND (last_analyze IS NOT NULL OR last_autoanalyze IS NOT NULL)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=20_000, metavar="N", help="urgent tasks (20,000)")
    parser.add_argument(
        "--others",
        type=int,
        default=1_000_000,
        metavar="N",
        help="ready ones, and scheduled (1,000,000)",
    )
    parser.add_argument("--concurrency", type=int, default=2, metavar="N", help="executors (2)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection:
        for table in load.TABLES.split(", "):
            connection.execute(NEVER_ANALYSE.format(table))
        load.empty(connection)
        alone = [_drain(site, connection, options) for _ in range(options.repeat)]
        say(f"alone: {alone} tasks/s; loading {options.others:,} ready and as many scheduled ones")
        load.empty(connection)
        _fill(connection, options.others)
        among = [_drain(site, connection, options) for _ in range(options.repeat)]
        say(f"among them: {among} tasks/s")
        (analysed,) = connection.execute(ANALYSED).fetchone()
    return {
        "tasks": options.tasks,
        "others_ready": options.others,
        "others_scheduled": options.others,
        "empty_per_s": median(alone),
        "backlog_per_s": median(among),
        "ratio": round(median(among) / median(alone), 3),
        "tables_analysed": analysed,
        "runs_empty_per_s": alone,
        "runs_backlog_per_s": among,
    }


def _fill(connection: psycopg.Connection, others: int) -> None:
    connection.execute(TASKS, (noop.name, 1, others))
    connection.execute(READY)
    connection.execute(TASKS, (noop.name, others + 1, 2 * others))
    connection.execute(SCHEDULED, (others,))
    connection.execute("CHECKPOINT")


def _drain(site: Site, connection: psycopg.Connection, options: argparse.Namespace) -> int:
    waiting = load.enqueue(noop_urgent, options.tasks)
    with running_worker(site, "-c", str(options.concurrency)) as worker:
        return round(options.tasks / load.seconds_to_settle(connection, waiting, worker))
