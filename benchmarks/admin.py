"""How long the pages of the admin take with a million tasks, in all states and in several queues.

Each page is asked for through Django's whole stack, templates included, without a network.
"""

from __future__ import annotations

import argparse
import time
from typing import Any

import psycopg

from benchmarks.lab import load
from benchmarks.lab.figures import median, ms, say
from benchmarks.lab.site import Site

ID = "format('01900000-0000-7000-8000-%%s', lpad(to_hex(number), 12, '0'))::uuid"
TASKS = f"""
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs)
SELECT {ID}, 'shop.tasks.number' || number %% 20, (ARRAY['default', 'mail', 'slow', 'rare'])[
    CASE WHEN number %% 10000 = 0 THEN 4 ELSE 1 + number %% 3 END
], 0, jsonb_build_array(number), '{{}}'
FROM generate_series(1, %(tasks)s::integer) AS number
"""
# Of each hundred tasks forty have succeeded, five have failed, one is cancelled, ten wait for their time and the rest
# are in line.
RESULTS = f"""
INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, value, error, started_at, finished_at)
SELECT {ID}, CASE WHEN number %% 100 < 40 THEN 5 WHEN number %% 100 < 45 THEN 6 ELSE 7 END, 1, 'worker-1@host',
    NULL, CASE WHEN number %% 100 BETWEEN 40 AND 44
        THEN '{{"exc_type": "ValueError", "exc_message": ["sour"], "exc_module": "builtins"}}'::jsonb END,
    now() - interval '1 hour', now() - (%(tasks)s - number) * interval '1 ms'
FROM generate_series(1, %(tasks)s::integer) AS number WHERE number %% 100 < 46
"""
SCHEDULED = f"""
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT now() + number * interval '1 s', {ID}, 0, 1
FROM generate_series(1, %(tasks)s::integer) AS number WHERE number %% 100 BETWEEN 46 AND 55
"""
READY = f"""
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, 0, id, 0 FROM generate_series(1, %(tasks)s::integer) AS number
CROSS JOIN LATERAL (SELECT id, queue FROM djqueue_task WHERE id = {ID}) AS task
WHERE number %% 100 > 55
"""
QUEUES = "INSERT INTO djqueue_queue (name) VALUES ('default'), ('mail'), ('slow'), ('rare')"
ONE = "01900000-0000-7000-8000-000000000029"

PAGES = [
    "task/",
    *[f"task/?state={state}" for state in ("ready", "scheduled", "running", "succeeded", "failed", "cancelled")],
    *[
        f"task/?queue={queue}&state={state}"
        for queue in ("mail", "rare")
        for state in ("ready", "scheduled", "succeeded", "failed")
    ],
    "task/?queue=mail",
    "task/?queue=rare",
    "task/?p=5",
    "task/?q=shop.tasks.number7",
    f"task/?q={ONE}",
    f"task/{ONE}/change/",
    "taskresult/",
    "taskresult/?state__exact=6",
    f"taskresult/?q={ONE}",
    "queue/",
    "worker/",
]


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--tasks", type=int, default=1_000_000, metavar="N", help="tasks (1,000,000)")
    parser.add_argument("--repeat", type=int, default=5, metavar="N", help="requests of each page; medians count (5)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection:
        say(f"loading {options.tasks:,} tasks")
        load.empty(connection)
        _fill(connection, options.tasks)
    pages = _time_pages(options.repeat)
    slowest = max(pages, key=pages.__getitem__)
    return {"tasks": options.tasks, "slowest_ms": pages[slowest], "slowest": slowest, "pages_ms": pages}


def _fill(connection: psycopg.Connection, tasks: int) -> None:
    for statement in (TASKS, RESULTS, SCHEDULED, READY):
        connection.execute(statement, {"tasks": tasks})
    connection.execute(QUEUES)
    connection.execute("VACUUM ANALYZE")


def _time_pages(repeat: int) -> dict[str, float]:
    from django.contrib.auth.models import User
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("benchmark"))
    return {page: median([_seconds(client, f"/admin/djqueue/{page}") for _ in range(repeat)]) for page in PAGES}


def _seconds(client: Any, url: str) -> float:
    began = time.perf_counter()
    response = client.get(url)
    elapsed = time.perf_counter() - began
    if response.status_code != 200:
        raise RuntimeError(f"expected {url} to answer with 200, got: {response.status_code}")
    return ms(elapsed)
