"""What uniqueness costs: calls that insert, find, replace or debounce, a million keys, and one key that all use.

* calls: each way in blocks that alternate with plain calls.
* keys: that many tasks with a key each, in bulk; then the calls again, among them, and how long it takes to forget
  keys whose tasks are gone.
* hot: several processes call a task with one key, of which one call inserts and the others find.
"""

from __future__ import annotations

import argparse
import asyncio
import subprocess
import sys
import time
from typing import Any

import psycopg

from benchmarks.lab import load
from benchmarks.lab.figures import say
from benchmarks.lab.site import Site
from benchmarks.lab.turns import in_turns, reported
from benchmarks.tasks import noop, only_one, put_off_by_calls
from djqueue.store.keys import prune_keys

CHUNK = 20_000
SIZES = "SELECT pg_relation_size('djqueue_uniquekey'), pg_indexes_size('djqueue_uniquekey')"
OLD = "UPDATE djqueue_uniquekey SET first_at = first_at - interval '1 hour'"
CALLER = """
import sys, time
import django
django.setup()
from benchmarks.tasks import only_one
until = time.monotonic() + float(sys.argv[1])
calls = made = 0
while time.monotonic() < until:
    made += only_one.delay("hot").created
    calls += 1
print(calls, made)
"""


def add_options(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--keys", type=int, default=100_000, metavar="N", help="keys, a task each (100,000)")
    parser.add_argument("--blocks", type=int, default=5, metavar="N", help="blocks of calls of each way (5)")
    parser.add_argument("--callers", type=int, default=4, metavar="N", help="processes that use one key (4)")
    parser.add_argument("--seconds", type=float, default=5.0, metavar="S", help="that they do so (5)")


def measure(site: Site, options: argparse.Namespace) -> dict[str, Any]:
    with site.connect() as connection:
        load.empty(connection)
        alone = _calls(options.blocks)
        say(f"calls: {alone}")
        load.empty(connection)
        rates = _many(options.keys)
        say(f"{options.keys:,} keys: {rates[0]:,.0f}/s at first, {rates[-1]:,.0f}/s in the end")
        table, index = connection.execute(SIZES).fetchone()
        among = _calls(options.blocks)
        load.forget_tasks(connection)
        connection.execute(OLD)
        forgotten = _forget(connection)
        hot = _hot(options)
    return {
        **alone,
        "keys": options.keys,
        "keys_first_per_s": round(rates[0]),
        "keys_last_per_s": round(rates[-1]),
        "keys_bytes_each": round((table + index) / options.keys),
        **{f"among_keys_{name}": value for name, value in among.items()},
        "keys_forgotten_per_s": round(forgotten),
        **hot,
    }


def _calls(blocks: int) -> dict[str, Any]:
    only_one.delay("found")
    ways = {
        "plain": lambda number: noop.delay(),
        "inserts": lambda number: only_one.delay(time.perf_counter_ns()),
        "finds": lambda number: only_one.delay("found"),
        "replaces": lambda number: only_one.apply_async(("found", number), unique_action="replace"),
        "debounces": lambda number: put_off_by_calls.delay(number),
    }
    return reported(in_turns(ways, blocks))


def _many(keys: int) -> list[float]:
    """Return how many tasks a second were inserted, for each tenth of the keys."""
    rates = []
    step = max(1, keys // 10)
    for first in range(0, keys, step):
        began = time.perf_counter()
        for start in range(first, first + step, CHUNK):
            only_one.delay_many(((key,), {}) for key in range(start, min(start + CHUNK, first + step)))
        rates.append(step / (time.perf_counter() - began))
    return rates


def _forget(connection: psycopg.Connection) -> float:
    """Return how many keys a second are forgotten."""
    (keys,) = connection.execute("SELECT count(*) FROM djqueue_uniquekey").fetchone()

    async def all_of_them() -> float:
        async with await psycopg.AsyncConnection.connect(connection.info.dsn, autocommit=True) as own:
            began, last = time.perf_counter(), ""
            while (page := await prune_keys(own, last)).last:
                last = page.last
            return time.perf_counter() - began

    seconds = asyncio.run(all_of_them())
    (left,) = connection.execute("SELECT count(*) FROM djqueue_uniquekey").fetchone()
    if left:
        raise RuntimeError(f"expected all keys to be forgotten, but {left:,} of {keys:,} are there")
    return float(keys / seconds)


def _hot(options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-c", CALLER, str(options.seconds)]
    callers = [subprocess.Popen(command, stdout=subprocess.PIPE, text=True) for _ in range(options.callers)]
    found = [[int(word) for word in caller.communicate()[0].split()] for caller in callers]
    if any(caller.returncode for caller in callers) or sum(made for _, made in found) != 1:
        raise RuntimeError(f"expected one call of all to make a task, got (calls, tasks made): {found}")
    rate = sum(calls for calls, _ in found) / options.seconds
    say(f"one key, {options.callers} callers: {rate:,.0f} calls/s")
    return {"hot_callers": options.callers, "hot_calls_per_s": round(rate)}
