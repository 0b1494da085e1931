"""What asking costs: ``delay`` against a bare INSERT of the same row, ``delay_many``, and a countdown.

Calls and bare INSERTs take turns in blocks, one commit each, on two connections of this process; the ratio is
the median over pairs of blocks, which cancels what the machine does meanwhile. The bare row is the task alone
(not its place in line), inserted with psycopg's defaults (which prepare the statement), its id made before.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Callable
from typing import Any

import psycopg

from benchmarks.lab import load
from benchmarks.lab.figures import median, ms, say
from benchmarks.lab.site import Site
from benchmarks.tasks import noop
from djqueue.uuid7 import new_task_id

BLOCK = 500
BARE_INSERT = """
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, options)
VALUES (%s, %s, %s, %s, %s, %s, %s)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--blocks", type=int, default=10, metavar="N", help=f"pairs of {BLOCK} calls (10)")
    parser.add_argument("--tasks", type=int, default=50_000, metavar="N", help="of delay_many (50,000)")
    parser.add_argument("--repeat", type=int, default=3, metavar="N", help="runs of delay_many (3)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection, connection.cursor() as cursor:
        load.empty(connection)
        delay, bare = _in_turns(lambda: _delay(BLOCK), lambda: _bare(cursor, BLOCK), options.blocks)
        say(f"delay: {BLOCK / median(delay):,.0f}/s, bare INSERT: {BLOCK / median(bare):,.0f}/s")
        many = [_many(connection, options.tasks) for _ in range(options.repeat)]
        say(f"delay_many: {options.tasks / median(many):,.0f}/s")
        load.empty(connection)
        countdown = [_countdown(BLOCK) for _ in range(options.blocks)]
    return {
        "delay_per_s": round(BLOCK / median(delay)),
        "bare_insert_per_s": round(BLOCK / median(bare)),
        "delay_cost_ratio": round(median(a / b for a, b in zip(delay, bare, strict=True)), 3),
        "delay_ms": ms(median(delay) / BLOCK),
        "delay_many_per_s": round(options.tasks / median(many)),
        "apply_async_countdown_per_s": round(BLOCK / median(countdown)),
        "delay_many_tasks": options.tasks,
        "runs_delay_many_per_s": [round(options.tasks / seconds) for seconds in many],
        "blocks_delay_per_s": [round(BLOCK / seconds) for seconds in delay],
        "blocks_bare_insert_per_s": [round(BLOCK / seconds) for seconds in bare],
    }


def _in_turns(one: Callable[[], float], other: Callable[[], float], blocks: int) -> tuple[list[float], list[float]]:
    one(), other()  # warm
    first, second = [], []
    for number in range(blocks):
        # Each begins every second pair, in case the first of a pair has an advantage.
        if number % 2:
            second.append(other())
            first.append(one())
        else:
            first.append(one())
            second.append(other())
    return first, second


def _delay(calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        noop.delay()
    return time.perf_counter() - began


def _bare(cursor: psycopg.Cursor, calls: int) -> float:
    ids = [new_task_id() for _ in range(calls)]
    began = time.perf_counter()
    for task_id in ids:
        cursor.execute(BARE_INSERT, (task_id, noop.name, "default", 0, "[]", "{}", None))
    return time.perf_counter() - began


def _many(connection: psycopg.Connection, tasks: int) -> float:
    load.empty(connection)
    began = time.perf_counter()
    noop.delay_many(((), {}) for _ in range(tasks))
    return time.perf_counter() - began


def _countdown(calls: int) -> float:
    began = time.perf_counter()
    for _ in range(calls):
        noop.apply_async(countdown=3600)
    return time.perf_counter() - began
