"""What routing costs: calls with routes and exchanges, and workers that serve many queues in each order.

* calls: of a task that a route sends to its queue (a name, the last of twenty patterns, a function), to an exchange
  that reaches one or four queues among many bindings, and to a broadcast queue that some workers serve; each in blocks
  that alternate with plain calls.
* orders: a worker gets through tasks in one queue, then through as many in twenty, in each order.
"""

from __future__ import annotations

import argparse
from typing import Any

import psycopg
from django.test import override_settings

from benchmarks.lab import load
from benchmarks.lab.figures import median, say
from benchmarks.lab.site import Site
from benchmarks.lab.turns import in_turns, reported
from benchmarks.lab.workers import running_worker
from benchmarks.tasks import noop, noop_ignored, number_of, stamp

PATTERNS = {f"shop.reports.number{number}.*": "reports" for number in range(19)}
QUEUES = 20
EXCHANGE = "INSERT INTO djqueue_exchange (name, kind, description) VALUES ('orders', 'topic', '')"
BINDINGS = """
INSERT INTO djqueue_binding (exchange_id, routing_key, queue)
SELECT exchange.name, bound.routing_key, bound.queue
FROM djqueue_exchange AS exchange
CROSS JOIN (
    VALUES ('orders.*.paid', 'billing'), ('all.#', 'a'), ('all.#', 'b'), ('all.#', 'c'), ('all.#', 'd')
    UNION ALL SELECT 'other' || number || '.*.#', 'other' || number FROM generate_series(1, %s) AS number
) AS bound (routing_key, queue)
"""
REGISTER = """
INSERT INTO djqueue_worker (
    name, host, pid, queues, pool, concurrency, version, lease_until, draining, running, succeeded, failed, lost
)
SELECT 'w', 'h', number, '*', 'solo', 1, '', now() + interval '1 hour', false, 0, 0, 0, 0
FROM generate_series(1, %s::integer) AS number
"""
"""Workers that serve everything; none of them runs."""
ORDERS = {
    "one_queue": ["-Q", "*"],
    "strict": ["-Q", "*"],
    "round_robin": ["-Q", "*", "--queue-order", "round-robin"],
    "weighted": ["-Q", "q0=5,q1=3,*=1", "--queue-order", "weighted"],
    "aging": ["-Q", "*", "--priority-aging", "10"],
}


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", type=int, default=5, metavar="N", help="blocks of calls of each way (5)")
    parser.add_argument("--bindings", type=int, default=1000, metavar="N", help="that reach other queues (1,000)")
    parser.add_argument("--workers", type=int, default=4, metavar="N", help="that get what is broadcast (4)")
    parser.add_argument("--tasks", type=int, default=20_000, metavar="N", help="in line for each order (20,000)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="the median counts (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection:
        load.empty(connection)
        calls = _calls(connection, options)
    say(f"calls: {calls}")
    rates: dict[str, list[float]] = {order: [] for order in ORDERS}
    for number in range(options.repeat):
        for order, arguments in ORDERS.items():
            rates[order].append(_drain(site, options.tasks, 1 if order == "one_queue" else QUEUES, arguments))
            say(f"{order} {number + 1}/{options.repeat}: {rates[order][-1]:,.0f} tasks/s")
    return {
        **calls,
        "bindings": options.bindings,
        "broadcast_workers": options.workers,
        **{f"{order}_tasks_per_s": round(median(found)) for order, found in rates.items()},
    }


def by_function(name: str, args: Any, kwargs: Any, options: Any, task: Any = None, **others: Any) -> str | None:
    return "routed" if name == number_of.name else None


def _calls(connection: psycopg.Connection, options: argparse.Namespace) -> dict[str, Any]:
    connection.execute(EXCHANGE)
    connection.execute(BINDINGS, (options.bindings,))
    ways = {
        "plain": lambda number: noop.delay(),
        "by_name": lambda number: stamp.delay(1.0),
        "by_pattern": lambda number: noop_ignored.delay(),
        "exchange_to_one": lambda number: noop.apply_async(exchange="orders", routing_key="orders.eu.paid"),
        "exchange_to_four": lambda number: noop.apply_async(exchange="orders", routing_key="all.eu.paid"),
    }
    patterns = {stamp.name: "routed", **PATTERNS, "benchmarks.*_ignored": {"queue": "routed"}}
    with override_settings(DJQUEUE={"ROUTES": patterns}):
        costs = in_turns(ways, options.blocks)
    with override_settings(DJQUEUE={"ROUTES": [by_function, patterns]}):
        costs |= in_turns({"by_function": lambda number: number_of.delay([])}, options.blocks)
    with override_settings(DJQUEUE={"BROADCAST_QUEUES": ["everywhere"]}):
        connection.execute(REGISTER, (options.workers,))
        costs |= in_turns({"broadcast": lambda number: noop.apply_async(queue="everywhere")}, options.blocks)
        connection.execute("DELETE FROM djqueue_worker")
    return reported(costs)


def _drain(site: Site, tasks: int, queues: int, arguments: list[str]) -> float:
    with site.connect() as connection:
        load.empty(connection)
        ids: list[str] = []
        for number in range(queues):
            with override_settings(DJQUEUE={"ROUTES": {noop.name: f"q{number}"}}):
                ids += [result.id for result in noop.delay_many(((), {}) for _ in range(tasks // queues))]
        waiting = load.Load(min(ids), max(ids), len(ids))
        with running_worker(site, "-c", "2", *arguments) as worker:
            return len(ids) / load.seconds_to_settle(connection, waiting, worker)
