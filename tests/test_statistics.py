"""Statistics: nothing is counted twice or lost when rows are folded, and percentiles are near the truth."""

from __future__ import annotations

import json
import signal
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from django.utils import timezone
from hypothesis import given
from hypothesis import strategies as st
from psycopg import OperationalError

from djqueue.control import revoke
from djqueue.histogram import LONGEST_STEP, bounds_of, percentile, step_of
from djqueue.models import Statistic
from djqueue.records import Claim, Outcome, Tallied
from djqueue.store.tally import append, fold, prune_statistics
from djqueue.worker.tally import Tally
from djqueue.worker.upkeep import write_tally

from .conftest import Session
from .site.tasks import add, fails, kills_its_process
from .worker_process import Workers, eventually, stored

DAY = 86400


# Histograms


@given(st.floats(min_value=0, max_value=30 * DAY))
def test_a_duration_lies_within_its_step(seconds: float) -> None:
    low, high = bounds_of(step_of(seconds))
    assert low <= seconds + 1e-6
    assert seconds < high + 1e-6
    assert step_of(seconds) < LONGEST_STEP


def test_what_clocks_can_yield_has_a_step_too() -> None:
    assert step_of(-3.0) == 0
    assert step_of(1e30) == LONGEST_STEP


@given(st.lists(st.floats(min_value=0.001, max_value=DAY), min_size=1, max_size=60), st.sampled_from([50, 95, 99]))
def test_a_percentile_is_at_most_a_quarter_step_of_a_doubling_off(durations: list[float], percent: int) -> None:
    found = percentile(Counter(map(step_of, durations)), percent)
    rank = max(1, -(-len(durations) * percent // 100))
    exact = sorted(durations)[rank - 1]
    assert found is not None
    assert exact * 0.79 <= found <= exact * 1.26


def test_there_is_no_percentile_of_nothing() -> None:
    assert percentile({}, 95) is None


# The worker's tally


def claim(attempt: int = 1, created: float = 100.0, options: str | None = None, name: str = "a") -> Claim:
    return Claim("id", attempt, name, "[]", "{}", options, "q", 0, created, created)


def test_endings_are_counted_by_minute_task_and_queue() -> None:
    tally = Tally()
    tally.add(
        [
            (claim(), Outcome.succeeded("1", 1, "1", 101.0, 101.5)),
            (claim(), Outcome.forgotten("2", 1, 101.0, 101.5)),
            (claim(), Outcome.failed("3", 1, "{}", 101.0, 121.5)),
            (claim(), Outcome.retried("4", 1, "{}", 101.0, 101.5, "{}")),
            (claim(name="b"), Outcome.cancelled("5", 1, "{}", None, 101.5)),
            (claim(), Outcome.lost("6", 1, "{}", 101.5)),
        ]
    )
    rows = {row[:3]: row[3:7] for row in tally.take()}
    assert rows == {(1, "a", "q"): (2, 0, 1, 0), (2, "a", "q"): (0, 1, 0, 0), (1, "b", "q"): (0, 0, 0, 1)}
    assert tally.take() == []


def waited(*claims: Claim) -> list[float | None]:
    """Return how long each of these waited, as their tally says; all start at 110."""
    found: list[float | None] = []
    for one in claims:
        tally = Tally()
        tally.add([(one, Outcome.succeeded("1", one.attempt, "1", 110.0, 111.0))])
        ((*_, steps, counts),) = tally.take()
        found.append(percentile({s: c for s, c in zip(steps, counts, strict=True) if s <= LONGEST_STEP}, 100))
    return found


def test_a_task_waits_from_when_it_could_start_and_a_further_attempt_does_not() -> None:
    eta = json.dumps({"eta": "1970-01-01T00:01:48+00:00"})
    at_once, planned, broken, again = waited(
        claim(), claim(options=eta), claim(options='{"eta": "soon"}'), claim(attempt=2)
    )
    assert at_once == broken == pytest.approx(10, rel=0.2)
    assert planned == pytest.approx(2, rel=0.2)
    assert again is None


def test_what_could_not_be_written_is_counted_later() -> None:
    tally = Tally()
    pairs = [(claim(), Outcome.succeeded("1", 1, "1", 101.0, 101.5))]
    tally.add(pairs)
    rows = tally.take()
    tally.add(pairs)
    tally.put_back(rows)
    ((*_, succeeded, failed, retried, cancelled, steps, counts),) = tally.take()
    assert (succeeded, failed, retried, cancelled) == (2, 0, 0, 0)
    assert counts == [2, 2]
    assert len(set(steps)) == 2


# The rows


def row(minutes_ago: float, name: str = "a", **counts: Any) -> Tallied:
    minute = int(timezone.now().timestamp() // 60 - minutes_ago)
    values = {"succeeded": 0, "failed": 0, "retried": 0, "cancelled": 0, "steps": [], "counts": [], **counts}
    return Tallied(minute, name, "q", **values)


def sums() -> Any:
    """Return what is counted, however far it is folded."""
    total: Counter[Any] = Counter()
    for one in Statistic.objects.all():
        for column in ("succeeded", "failed", "retried", "cancelled", "lost"):
            total[one.name, column] += getattr(one, column)
        total.update({(one.name, step): n for step, n in zip(one.steps or [], one.counts or [], strict=True)})
    return {key: count for key, count in total.items() if count}


def test_folding_keeps_every_sum_and_leaves_few_rows(session: Session) -> None:
    spread = [row(ago, name, succeeded=2, steps=[3, 300], counts=[1, 2])
              for ago in range(0, 3000, 7) for name in "ab" for _ in range(2)]  # fmt: skip
    session(append, spread)
    before = sums()
    assert before["a", "succeeded"] == 2 * len(spread) / 2
    session(fold)
    session(fold)
    assert sums() == before
    by_resolution = Counter(Statistic.objects.values_list("resolution", flat=True))
    # 50 h in hours, quarters of the last 25 h, minutes of the last two; what is of this minute waits.
    assert by_resolution[60] <= 2 * 28
    assert by_resolution[15] <= 2 * 94
    assert set(by_resolution) <= {0, 1, 15, 60}
    assert Statistic.objects.count() < len(spread) / 4


def test_a_fold_that_is_cut_off_goes_on_later(session: Session) -> None:
    session(append, [row(200 + ago, succeeded=1) for ago in range(30)])
    assert session(fold, folds=[(15, 7200)], limit=7) == 7
    assert sums() == {("a", "succeeded"): 30}
    while session(fold, folds=[(15, 7200)], limit=7):
        pass
    assert sums() == {("a", "succeeded"): 30}


def test_workers_that_fold_at_once_count_nothing_twice(connect: Callable[[], Session]) -> None:
    import asyncio

    one, other = connect(), connect()
    one(append, [row(ago, succeeded=1) for ago in range(3000)])

    async def both() -> list[int]:
        return await asyncio.gather(fold(one.connection), fold(other.connection))

    assert sum(one.runner.run(both())) > 0
    assert sums() == {("a", "succeeded"): 3000}


def test_sums_wait_for_the_database_to_come_back(connect: Callable[[], Session]) -> None:
    broken, working = connect(), connect()
    tally = Tally()
    tally.add([(claim(), Outcome.succeeded("1", 1, "1", 101.0, 101.5))])
    working.sql("SELECT pg_terminate_backend(%s)", broken.connection.info.backend_pid)
    with pytest.raises(OperationalError):
        broken(write_tally, tally)
    assert not Statistic.objects.exists()
    working(write_tally, tally)
    assert sums()["a", "succeeded"] == 1
    working(write_tally, tally)
    assert Statistic.objects.count() == 1


def test_what_is_older_than_it_needs_to_be_is_deleted(session: Session) -> None:
    session(append, [row(10), row(3 * 1440, "old")])
    session(prune_statistics, 2 * DAY)
    assert [one.name for one in Statistic.objects.all()] == ["a"]


# The whole way


def test_a_worker_counts_what_it_settles(workers: Workers) -> None:
    for number in range(20):
        add.delay(number, 1)
    fails.delay("sour")
    later = add.apply_async((1, 1), countdown=3600)
    assert revoke(later.id) == {later.id}
    worker = workers.run("-c", "1")
    eventually(lambda: sums().get((fails.name, "failed")) == 1, timeout=30, what="statistics")
    assert sums()[add.name, "succeeded"] == 20
    assert sums()[add.name, "cancelled"] == 1
    # What is counted last is written when the worker leaves.
    stored(add.delay(1, 2))
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0
    assert sums()[add.name, "succeeded"] == 21


def test_lost_attempts_are_counted_where_they_are_judged(workers: Workers) -> None:
    workers.run("-c", "1", CRASH_LIMIT=2)
    assert stored(kills_its_process.delay()).attempt == 2
    found = sums()
    assert (found[kills_its_process.name, "lost"], found[kills_its_process.name, "failed"]) == (2, 1)
