"""What the monitor is measured on: millions of tasks in all states, and a site's worth of everything else.

Of each twelve tasks ten have finished, one waits for its time and one is in line; of a hundred finished ones two have
failed and one is cancelled. A few of those in line are held by workers, wait for others, or are held back by a limit.
Queues, names, headers and stamps change from one twelve to the next, so each is found in every state. Twelve tasks in
ten thousand are in a rare queue, one in a thousand starts a workflow of ten, and the newest 5,000 are one workflow.
"""

from __future__ import annotations

import psycopg

from . import load
from .figures import say

# Ids tell the time at which they were made: the newest was made now, each of the others a millisecond before the next.
IDS = """
CREATE OR REPLACE FUNCTION benchmark_id(number bigint) RETURNS uuid IMMUTABLE PARALLEL SAFE LANGUAGE sql AS $$
    SELECT (lpad(to_hex({first} + number), 12, '0') || '70008000' || lpad(to_hex(number), 12, '0'))::uuid
$$
"""
FIRST = "SELECT floor(extract(epoch FROM now()) * 1000)::bigint - %s"
TASKS = """
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, options, created_at, workflow_id)
SELECT
    benchmark_id(number), 'shop.tasks.number' || number / 12 %% 20,
    (ARRAY['default', 'mail', 'slow', 'rare'])[CASE WHEN number %% 10000 < 12 THEN 4 ELSE 1 + number / 12 %% 3 END],
    0, jsonb_build_array(number), '{}',
    CASE
        WHEN number / 12 %% 7 = 0 THEN jsonb_build_object('headers', jsonb_build_object('tenant', number / 84 %% 50))
        WHEN number / 12 %% 70 = 1 THEN jsonb_build_object('stamps', jsonb_build_object('customer', number / 840 %% 50))
    END,
    now() - (%(tasks)s - number) * interval '1 ms',
    CASE WHEN number > %(tasks)s - 5000 THEN benchmark_id(%(tasks)s - 4999)
        WHEN number %% 1000 < 10 THEN benchmark_id(number - number %% 1000) END
FROM generate_series(1, %(tasks)s::integer) AS number
"""
RESULTS = """
INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, value, error, started_at, finished_at)
SELECT benchmark_id(number), state, 1, 'worker-1@host', NULL, CASE WHEN state = 6 THEN jsonb_build_object(
    'exc_type', 'ValueError', 'exc_message', '["sour"]'::jsonb, 'exc_module', 'builtins',
    'traceback', %(traceback)s::text
) END, now() - interval '1 hour', now() - (%(tasks)s - number) * interval '1 ms'
FROM generate_series(1, %(tasks)s::integer) AS number
CROSS JOIN LATERAL (SELECT CASE number %% 97 WHEN 3 THEN 6 WHEN 5 THEN 6 WHEN 7 THEN 7 ELSE 5 END AS state) AS ended
WHERE number %% 12 < 10
"""
ATTEMPTS = """
INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, started_at, finished_at)
SELECT task_id, 1, 6, worker, error, started_at, finished_at FROM djqueue_taskresult WHERE state = 6 AND state <> 5
"""
SCHEDULED = """
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT now() + number * interval '1 s', benchmark_id(number), 0, 1
FROM generate_series(1, %(tasks)s::integer) AS number WHERE number %% 12 = 10
"""
READY = """
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, 0, id, 0 FROM generate_series(1, %(tasks)s::integer) AS number
CROSS JOIN LATERAL (SELECT id, queue FROM djqueue_task WHERE id = benchmark_id(number)) AS task
WHERE number %% 12 = 11 AND number %% 12000 NOT IN (11, 23, 35)
"""
ELSEWHERE = (
    """
INSERT INTO djqueue_runningtask (task_id, attempt, worker_id, claimed_at)
SELECT benchmark_id(number), 1, 1 + number / 12000 %% 20, now()
FROM generate_series(11, %(tasks)s::integer, 12000) AS number
""",
    """
INSERT INTO djqueue_waitingtask (task_id, waits_for, takes, attempt)
SELECT benchmark_id(number), benchmark_id(number - 1), 1, 0
FROM generate_series(23, %(tasks)s::integer, 12000) AS number
""",
    """
INSERT INTO djqueue_parkedtask (gate, rank, task_id, attempt, slots)
SELECT 'key', 0, benchmark_id(number), 0, 1 FROM generate_series(35, %(tasks)s::integer, 12000) AS number
""",
    """
INSERT INTO djqueue_tasklog (task_id, attempt, text)
SELECT benchmark_id(number), 1, repeat('A line that a task has logged' || chr(10), 100)
FROM generate_series(1, %(tasks)s::integer, 10000) AS number
""",
)
# A site's worth of everything that tasks are not.
FEW = (
    "INSERT INTO djqueue_queue (name) VALUES ('default'), ('mail'), ('slow'), ('rare')",
    "INSERT INTO djqueue_queue (name) SELECT 'queue' || number FROM generate_series(1, 40) AS number",
    """
INSERT INTO djqueue_worker (id, name, host, pid, queues, pool, concurrency, version, lease_until, draining, running,
    succeeded, failed, lost)
SELECT number, 'worker-' || number, 'host', number, '*', 'processes', 8, '1', now() + interval '1 day', false, 8,
    number, 0, 0
FROM generate_series(1, 20) AS number
""",
    """
INSERT INTO djqueue_schedule (name, task, args, kwargs, queue, options, kind, expression, relative, solar_event,
    timezone, jitter, misfire, misfire_limit, overlap, one_off, enabled, description, source, total_runs, total_skipped,
    last_error, next_run_at)
SELECT 'schedule-' || number, 'shop.tasks.number1', '[]', '{}', '', '{}', 'crontab', '* * * * *', false, '', '',
    interval '0', 2, 100, 1, false, true, '', 2, 0, 0, '', now() + number * interval '1 min'
FROM generate_series(1, 300) AS number
""",
    """
INSERT INTO djqueue_schedulerun (schedule_id, due_at, fired_at, fate, task_id, note)
SELECT schedule.id, now() - number * interval '1 min', now(), 1, benchmark_id(number * 12), ''
FROM djqueue_schedule AS schedule CROSS JOIN generate_series(1, 3000) AS number
""",
    """
INSERT INTO djqueue_ratelimit (kind, name, declared, declared_strict, rate, strict, per_second)
SELECT 1 + number % 2, 'name' || number, '', false, '10/s', false, 10 FROM generate_series(1, 300) AS number
""",
    """
INSERT INTO djqueue_rategate (gate, kind, name, free_at)
SELECT 'gate' || number, 1, 'name' || number % 300, now() FROM generate_series(1, 100000) AS number
""",
    """
INSERT INTO djqueue_pause (kind, name, until)
SELECT 'task', 'name' || number, now() + interval '1 day' FROM generate_series(1, 200) AS number
""",
    """
INSERT INTO djqueue_exchange (name, kind, description)
SELECT 'exchange' || number, 'topic', '' FROM generate_series(1, 200) AS number
""",
    """
INSERT INTO djqueue_binding (exchange_id, routing_key, queue)
SELECT 'exchange' || number % 200 + 1, 'orders.*.' || number, 'mail' FROM generate_series(1, 2000) AS number
""",
)
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
FEW_TABLES = (
    "djqueue_queue, djqueue_worker, djqueue_schedule, djqueue_schedulerun, djqueue_ratelimit, djqueue_pause, "
    "djqueue_exchange, djqueue_binding, djqueue_tasklog"
)
TRACEBACK = "Traceback (most recent call last):\n" + "".join(
    f'  File "/srv/shop/module{depth}.py", line {depth}, in step\n    do(step - 1)\n' for depth in range(1, 31)
)


def fill(connection: psycopg.Connection, tasks: int) -> None:
    """Load so many tasks, unless an earlier run left them here."""
    found = loaded(connection)
    if found != tasks:
        _load(connection, tasks)
    else:
        say(f"using the {tasks:,} tasks that are there")
    # The past moves away from what was loaded long ago.
    connection.execute("UPDATE djqueue_worker SET heartbeat_at = now(), lease_until = now() + interval '1 day'")
    connection.execute("TRUNCATE djqueue_statistic")
    connection.execute(STATISTICS)
    connection.execute("ANALYZE djqueue_statistic")


def loaded(connection: psycopg.Connection) -> int | None:
    """Return how many tasks an earlier run has left, None if there was none."""
    if connection.execute("SELECT to_regclass('benchmark_loaded')").fetchone()[0] is None:
        return None
    return connection.execute("SELECT tasks FROM benchmark_loaded").fetchone()[0]


def id_of(connection: psycopg.Connection, number: int) -> str:
    """Return the id of a task by its number, from 1."""
    return str(connection.execute("SELECT benchmark_id(%s)", (number,)).fetchone()[0])


def _load(connection: psycopg.Connection, tasks: int) -> None:
    say(f"loading {tasks:,} tasks")
    connection.execute("DROP TABLE IF EXISTS benchmark_loaded")
    load.empty(connection)
    connection.execute(f"TRUNCATE {FEW_TABLES}")
    first = connection.execute(FIRST, (tasks,)).fetchone()[0]
    connection.execute(IDS.format(first=first))
    values = {"tasks": tasks, "traceback": TRACEBACK}
    for statement in (TASKS, RESULTS, SCHEDULED, READY, *ELSEWHERE):
        connection.execute(statement, values)
    for statement in (ATTEMPTS, *FEW):
        connection.execute(statement)
    connection.execute("VACUUM ANALYZE")
    connection.execute(f"CREATE TABLE benchmark_loaded AS SELECT {tasks} AS tasks")
