"""Concurrency limits with real workers: never exceeded, nothing stuck, nothing lost, also when workers are killed."""

from __future__ import annotations

import os
import random
import signal
from collections import Counter
from pathlib import Path

from djqueue.doctor import check_invariants
from djqueue.models import ConcurrencySlot, ParkedTask, ReadyTask, TaskResult
from djqueue.results import AsyncResult
from djqueue.states import State

from .site.cluster_limits import (
    asks_for_another_attempt,
    exactly_one_at_a_time,
    in_order,
    one_at_a_time,
    three_at_a_time,
    two_at_a_time,
)
from .site.worker_tasks import notes
from .worker_process import Notes, Workers, all_finished, eventually, stored

MANY = int(os.environ.get("LIMITED_TASKS", "1000"))
"""Tasks of the long tests; 20,000 are meant where there is time."""
KEYS = 37
WORKERS = int(os.environ.get("LIMITED_WORKERS", "3"))
"""Workers that share the limits while some are killed; six are meant where there is time."""
PATIENCE = 60 + MANY / 100


def enqueue(file: Notes, seconds: float = 0.0) -> list[AsyncResult]:
    """Enqueue tasks of 37 keys, each with a limit of 1 to 3."""
    kinds = [one_at_a_time, two_at_a_time, three_at_a_time]
    calls: list[list[int]] = [[], [], []]
    for number in range(MANY):
        key = number % KEYS
        calls[key % 3].append(key)
    return [
        result
        for kind, keys in zip(kinds, calls, strict=True)
        for result in kind.delay_many(((key, file.path, seconds), {}) for key in keys)
    ]


def most_at_once(file: Notes) -> dict[int, int]:
    """Return how many of each key ran at once. What a killed process began ended with it, before others began."""
    running: dict[int, Counter[str]] = {}
    most: Counter[int] = Counter()
    for key, what, pid in file.lines():
        if not key.isdigit():
            continue
        pids = running.setdefault(int(key), Counter())
        pids[pid] += 1 if what == "+" else -1
        alive = sum(number for its, number in pids.items() if number > 0 and not _was_killed(its))
        most[int(key)] = max(most[int(key)], alive)
    return most


KILLED: set[str] = set()


def _was_killed(pid: str) -> bool:
    return pid in KILLED


def assert_limits_kept(file: Notes) -> None:
    most = most_at_once(file)
    assert {key: number for key, number in most.items() if number > key % 3 + 1} == {}


def assert_all_done(results: list[AsyncResult]) -> None:
    eventually(all_finished(results), timeout=PATIENCE, what="all results")
    assert TaskResult.objects.exclude(state=State.SUCCEEDED).count() == 0
    eventually(lambda: not any(model.objects.exists() for model in (ParkedTask, ConcurrencySlot, ReadyTask)))
    assert check_invariants() == []


def test_limits_hold_for_several_workers_and_everything_runs(workers: Workers, file: Notes, tmp_path: Path):
    for pool, slots in (("processes", 2), ("processes", 2), ("threads", 4)):
        workers.start("-P", pool, "-c", str(slots))
    for worker in workers.started:
        worker.ready()  # one alone would be through before the others have started
    results = enqueue(file, 0.01)
    assert_all_done(results)
    assert_limits_kept(file)
    assert len(file.lines()) == 2 * MANY
    # Limits that let one task run at a time would be kept as well: as many run at once as they allow.
    gate = tmp_path / "gate"
    held = [
        result
        for kind, key in ((two_at_a_time, 100), (three_at_a_time, 101))
        for result in kind.delay_many([((key, file.path, 0.0, str(gate)), {})] * 4)
    ]
    eventually(lambda: {key: most_at_once(file)[key] for key in (100, 101)} == {100: 2, 101: 3})
    gate.touch()
    assert_all_done(held)
    assert_limits_kept(file)


def test_limits_hold_when_workers_are_killed(workers: Workers, file: Notes):
    KILLED.clear()
    results = enqueue(file, 0.02)
    running = [workers.run("-c", "2", LEASE=2, HEARTBEAT=0.5) for _ in range(WORKERS)]
    chance = random.Random(5)
    for share in (0.2, 0.4, 0.6):
        eventually(lambda share=share: TaskResult.objects.count() >= MANY * share, timeout=PATIENCE)  # type: ignore[misc]
        victim = running.pop(chance.randrange(len(running)))
        KILLED.update(str(executor.pid) for executor in victim.executors())
        victim.send(signal.SIGKILL)
        running.append(workers.run("-c", "2", LEASE=2, HEARTBEAT=0.5))
    assert_all_done(results)
    assert_limits_kept(file)


def test_streams_run_in_order(workers: Workers, file: Notes):
    """With retries, several workers and streams, and a worker that is killed."""
    calls = [(key, number) for number in range(40) for key in range(4)]
    results = list(in_order.delay_many(((key, number, file.path, number % 10 == 3), {}) for key, number in calls))
    victim = workers.run("-c", "2", LEASE=2, HEARTBEAT=0.5)
    workers.run("-P", "threads", "-c", "4", LEASE=2, HEARTBEAT=0.5)
    file.await_lines(20)
    victim.send(signal.SIGKILL)
    assert_all_done(results)
    for key in range(4):
        seen = list(dict.fromkeys(int(number) for its, number, *_ in file.lines() if its == str(key)))
        assert seen == list(range(40))


def test_a_retry_that_waits_lets_others_run(workers: Workers, file: Notes):
    workers.run("-c", "1")
    waiting = asks_for_another_attempt.delay(7, 600)
    eventually(lambda: waiting.state == "RETRY")
    other = one_at_a_time.delay(7, file.path)
    assert stored(other).state == State.SUCCEEDED
    eventually(lambda: not ConcurrencySlot.objects.exists())


def test_tasks_that_settle_themselves_hand_their_slots_on(workers: Workers, file: Notes):
    workers.run("-c", "2")
    results = list(exactly_one_at_a_time.delay_many(((7, file.path), {}) for _ in range(20)))
    assert_all_done(results)


def test_long_tasks_of_one_key_do_not_stop_plain_ones(workers: Workers, file: Notes):
    workers.run("-c", "2")
    go_on = Path(file.path).with_suffix(".go-on")
    long = one_at_a_time.delay(7, file.path, until=str(go_on))
    limited = [long, *(one_at_a_time.delay(7, file.path) for _ in range(50))]
    plain = [notes.delay(file.path, "plain") for _ in range(20)]
    eventually(all_finished(plain))
    assert TaskResult.objects.filter(task_id__in=[result.id for result in limited]).count() == 0
    go_on.touch()
    assert_all_done([*limited, *plain])


def test_a_worker_that_drains_gives_back_what_has_not_started(workers: Workers, file: Notes):
    first = workers.run("-c", "1")
    results = [one_at_a_time.delay(key, file.path, 0.2) for key in range(10)]
    file.await_lines(1)
    first.send(signal.SIGTERM)
    assert first.wait() == 0
    workers.run("-c", "2")
    assert_all_done(results)
