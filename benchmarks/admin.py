"""How long the pages of the admin take with a million tasks, in all states and in several queues.

Each page is asked for through Django's whole stack, templates included, without a network. With --tasks 12000000 there
are ten million finished, a million ready and a million scheduled ones.
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
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, workflow_id)
SELECT {ID}, 'shop.tasks.number' || number %% 20, (ARRAY['default', 'mail', 'slow', 'rare'])[
    CASE WHEN number %% 10000 = 0 THEN 4 ELSE 1 + number %% 3 END
], 0, jsonb_build_array(number), '{{}}',
    CASE WHEN number %% 1000 < 10 THEN
        format('01900000-0000-7000-8000-%%s', lpad(to_hex(number - number %% 1000), 12, '0'))::uuid
    END
FROM generate_series(1, %(tasks)s::integer) AS number
"""
# Of each twelve tasks ten have finished, one waits for its time and one is in line; of a hundred finished ones two have
# failed and one is cancelled.
RESULTS = f"""
INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, value, error, started_at, finished_at)
SELECT {ID}, state, 1, 'worker-1@host', NULL, CASE WHEN state = 6 THEN jsonb_build_object(
    'exc_type', 'ValueError', 'exc_message', '["sour"]'::jsonb, 'exc_module', 'builtins',
    'traceback', %(traceback)s::text
) END, now() - interval '1 hour', now() - (%(tasks)s - number) * interval '1 ms'
FROM generate_series(1, %(tasks)s::integer) AS number
CROSS JOIN LATERAL (SELECT CASE number %% 97 WHEN 3 THEN 6 WHEN 5 THEN 6 WHEN 7 THEN 7 ELSE 5 END AS state) AS ended
WHERE number %% 12 < 10
"""
SCHEDULED = f"""
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT now() + number * interval '1 s', {ID}, 0, 1
FROM generate_series(1, %(tasks)s::integer) AS number WHERE number %% 12 = 10
"""
READY = f"""
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, 0, id, 0 FROM generate_series(1, %(tasks)s::integer) AS number
CROSS JOIN LATERAL (SELECT id, queue FROM djqueue_task WHERE id = {ID}) AS task
WHERE number %% 12 = 11
"""
QUEUES = "INSERT INTO djqueue_queue (name) VALUES ('default'), ('mail'), ('slow'), ('rare')"
# A week of thirty tasks that are busy each minute, as it is after folding.
STATISTICS = """
INSERT INTO djqueue_statistic (at, resolution, name, queue, succeeded, failed, retried, steps, counts)
SELECT
    date_trunc('minute', now()) - minute * interval '1 min', tier.minutes, 'shop.tasks.number' || task, 'default',
    50 * tier.minutes, 1, 2, histogram.steps, histogram.counts
FROM (VALUES (1, 0, 119), (15, 120, 1499), (60, 1500, 10080)) AS tier (minutes, first, last)
CROSS JOIN LATERAL generate_series(tier.first, tier.last, tier.minutes) AS minute
CROSS JOIN generate_series(1, 30) AS task
CROSS JOIN LATERAL (
    SELECT array_agg(step) AS steps, array_agg(5) AS counts
    FROM (SELECT generate_series(55, 70) UNION ALL SELECT generate_series(310, 330)) AS step (step)
) AS histogram
"""
TRACEBACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/srv/shop/module{depth}.py", line {depth}, in step\n    do(step - 1)\n' for depth in range(1, 31)
)
ONE = "01900000-0000-7000-8000-000000000029"

PAGES = [
    *[f"statistic/?span={span}" for span in ("1h", "24h", "7d")],
    "statistic/live/",
    *[f"taskresult/failures/?span={span}" for span in ("1h", "7d")],
    "task/",
    *[
        f"task/?state={state}"
        for state in ("ready", "scheduled", "running", "succeeded", "failed", "cancelled", "waiting")
    ],
    *[
        f"task/?queue={queue}&state={state}"
        for queue in ("mail", "rare")
        for state in ("ready", "scheduled", "succeeded", "failed")
    ],
    "task/?queue=mail",
    "task/?queue=rare",
    "task/?p=5",
    "task/?q=shop.tasks.number7",
    "task/?q=[999999]",
    'task/?q={"nothing": 1}',
    "task/?enqueued=24h",
    "task/?worker=1",
    f"task/?q={ONE}",
    f"task/{ONE}/change/",
    "task/workflows/",
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
    pages, statement = _time_pages(options.repeat)
    slowest = max(pages, key=pages.__getitem__)
    return {
        "tasks": options.tasks,
        "slowest_ms": pages[slowest],
        "slowest": slowest,
        "slowest_statement_ms": ms(statement[0]),
        "slowest_statement": " ".join(statement[1].split())[:120],
        "pages_ms": pages,
    }


def _fill(connection: psycopg.Connection, tasks: int) -> None:
    for statement in (TASKS, RESULTS, SCHEDULED, READY):
        connection.execute(statement, {"tasks": tasks, "traceback": TRACEBACK})
    connection.execute(STATISTICS)
    connection.execute(QUEUES)
    connection.execute("VACUUM ANALYZE")


def _time_pages(repeat: int) -> tuple[dict[str, float], tuple[float, str]]:
    """Return the median of each page in milliseconds, and the slowest statement of all after the first round."""
    from django.contrib.auth.models import User
    from django.db import connection
    from django.test import Client

    client = Client(headers={"host": "localhost"})
    client.force_login(User.objects.create_superuser("benchmark"))
    for page in PAGES:
        _seconds(client, f"/admin/djqueue/{page}")
    slowest = (0.0, "")

    def timed(execute: Any, sql: str, *rest: Any) -> Any:
        nonlocal slowest
        began = time.perf_counter()
        result = execute(sql, *rest)
        slowest = max(slowest, (time.perf_counter() - began, sql))
        return result

    with connection.execute_wrapper(timed):
        pages = {page: median([_seconds(client, f"/admin/djqueue/{page}") for _ in range(repeat)]) for page in PAGES}
    return pages, slowest


def _seconds(client: Any, url: str) -> float:
    began = time.perf_counter()
    response = client.get(url)
    elapsed = time.perf_counter() - began
    if response.status_code != 200:
        raise RuntimeError(f"expected {url} to answer with 200, got: {response.status_code}")
    return ms(elapsed)
