"""Soft limits are raised in the task, hard ones kill it, in every pool and whatever the task does."""

from __future__ import annotations

import datetime
import time
from pathlib import Path
from typing import Any

import pytest

from djqueue import chain, shared_task
from djqueue.enqueue import send_task
from djqueue.exceptions import SoftTimeLimitExceeded, TimeLimitExceeded
from djqueue.models import TaskAttempt
from djqueue.states import State

from .site.limited_tasks import knows_its_limits, limited
from .site.pool_tasks import (
    blocks_the_loop,
    catches_its_limit,
    catches_its_limit_async,
    ignores_all,
    process,
    sleeps_here,
    sleeps_in_one_piece,
    sleeps_there,
)
from .site.tasks import noop, sleeps
from .site.worker_tasks import notes
from .worker_process import Kept, Notes, Workers, all_finished, eventually, stored

LIMITED = ["tests.site.limited_tasks"]
POOLS = ["processes", "threads", "asyncio", "gevent"]
FOREVER = 60.0
"""Seconds that no task here is meant to take."""


@pytest.mark.parametrize("task", [catches_its_limit, catches_its_limit_async])
@pytest.mark.parametrize("pool", [*POOLS, "solo"], scope="module")
def test_a_soft_limit_is_raised_in_the_task_which_may_catch_it_and_return(kept: Kept, pool: str, task: Any) -> None:
    kept("-P", pool)

    over = task.apply_async((FOREVER,), soft_time_limit=0.2)
    within = task.apply_async((0.05,), soft_time_limit=FOREVER)

    assert (stored(over).state, stored(over).value) == (State.SUCCEEDED, "caught")
    assert stored(within).value == "in time"


@pytest.mark.parametrize("task", [sleeps_here, sleeps_there])
@pytest.mark.parametrize("pool", [*POOLS, "solo"])
def test_a_soft_limit_that_is_not_caught_fails_the_task(kept: Kept, file: Notes, pool: str, task: Any) -> None:
    worker = kept("-P", pool, "--soft-time-limit", "0.3")
    executors = worker.executors()

    result = task.delay(file.path, FOREVER)

    assert stored(result).state == State.FAILED
    with pytest.raises(SoftTimeLimitExceeded, match=r"^SoftTimeLimitExceeded\(\)$"):
        result.get()
    assert file.texts() == ["begun", "SoftTimeLimitExceeded"]
    assert worker.executors() == executors


@pytest.mark.parametrize("pool", ["processes", "gevent", "solo"], scope="module")
def test_a_soft_limit_ends_a_sleep_in_the_main_thread(kept: Kept, pool: str) -> None:
    kept("-P", pool)

    assert stored(sleeps_in_one_piece.apply_async((FOREVER,), soft_time_limit=0.2)).value == "caught"


@pytest.mark.parametrize(
    ("pool", "task"),
    [
        ("processes", sleeps_in_one_piece),
        ("processes", blocks_the_loop),
        ("threads", sleeps_in_one_piece),
        ("asyncio", sleeps_in_one_piece),
        ("asyncio", blocks_the_loop),
        ("gevent", sleeps_in_one_piece),
    ],
)
def test_a_hard_limit_ends_what_nothing_else_does_and_a_new_executor_goes_on(
    workers: Workers, pool: str, task: Any
) -> None:
    worker = workers.run("-P", pool, "-c", "1")
    (executor,) = worker.executors()

    result = task.apply_async((FOREVER,), time_limit=0.3)

    row = stored(result)
    assert (row.state, row.attempt) == (State.FAILED, 1)
    with pytest.raises(TimeLimitExceeded, match=r"^TimeLimitExceeded\(0\.3,\)$"):
        result.get()
    assert 0.3 <= (row.finished_at - row.started_at).total_seconds() < 20
    assert not TaskAttempt.objects.filter(outcome=9).exists()
    assert stored(process.delay()).value not in (executor.pid, worker.pid)
    worker.wait_for_log(f"was killed to end task {result.id}")


def test_a_soft_limit_that_is_ignored_is_followed_by_the_hard_one(workers: Workers, file: Notes) -> None:
    workers.run("-c", "1")

    result = ignores_all.apply_async((file.path, FOREVER), soft_time_limit=0.2, time_limit=0.6)

    assert stored(result).state == State.FAILED
    with pytest.raises(TimeLimitExceeded):
        result.get()
    assert file.lines()[1] == ["ignored", "SoftTimeLimitExceeded"]
    assert len(file.lines()) == 2


@pytest.mark.parametrize("pool", ["threads", "asyncio", "gevent"])
def test_the_others_in_a_killed_executor_go_back_with_their_attempt_not_counted(
    workers: Workers, file: Notes, pool: str
) -> None:
    workers.run("-P", pool, "-c", "4")
    go_on = Path(file.path).with_suffix(".go-on")
    others = [notes.delay(file.path, "other", until=str(go_on)) for _ in range(3)]
    file.await_lines(3)

    result = ignores_all.apply_async((file.path, FOREVER), time_limit=0.3)

    assert stored(result).state == State.FAILED
    file.await_lines(3 + 1 + 3)
    go_on.touch()
    eventually(all_finished(others))
    assert {(row.state, row.attempt) for row in map(stored, others)} == {(State.SUCCEEDED, 1)}
    assert len(file.texts()) == 3 + 1 + 3
    assert not TaskAttempt.objects.filter(outcome=9).exists()


@pytest.mark.parametrize("pool", POOLS)
def test_limits_of_the_worker_hold_for_tasks_without_their_own(workers: Workers, pool: str) -> None:
    workers.run("-P", pool, "-c", "2", "--time-limit", "0.3")

    unlimited = sleeps_in_one_piece.delay(FOREVER)
    longer = sleeps_in_one_piece.apply_async((0.6,), time_limit=FOREVER)

    assert stored(unlimited).state == State.FAILED
    assert stored(longer).state == State.SUCCEEDED


def test_limits_of_the_definition_hold_unless_the_call_says_otherwise(kept: Kept) -> None:
    kept("-c", "2", IMPORTS=LIMITED)

    by_definition, by_call = limited.delay(), limited.apply_async(soft_time_limit=0.1)

    for result in (by_definition, by_call):
        assert stored(result).state == State.FAILED
        with pytest.raises(SoftTimeLimitExceeded):
            result.get()


def test_a_task_knows_its_limits_hard_before_soft(kept: Kept) -> None:
    kept("-c", "2", IMPORTS=LIMITED)

    assert stored(knows_its_limits.delay()).value == [[60.0, 50.0], 60.0, 50.0]
    changed = knows_its_limits.apply_async(time_limit=55, soft_time_limit=datetime.timedelta(seconds=5))
    assert stored(changed).value == [[55.0, 5.0], 55.0, 5.0]


@pytest.mark.parametrize("pool", [*POOLS, "solo"])
def test_a_limit_that_passes_when_a_task_ends_never_hits_the_next(workers: Workers, pool: str) -> None:
    """Tasks last about as long as their limit, so that it passes at every moment around their end."""
    workers.run("-P", pool, "-c", "2" if pool != "solo" else "1")
    results = [sleeps.apply_async((0.02,), soft_time_limit=0.01 + 0.0003 * place) for place in range(100)]
    bystanders = noop.delay_many(((), {}) for _ in range(300))

    eventually(all_finished([*results, *bystanders]))

    rows = [stored(result) for result in bystanders]
    assert {(row.state, row.attempt) for row in rows} == {(State.SUCCEEDED, 1)}
    for result in results:
        row = stored(result)
        assert row.attempt == 1
        assert row.state == State.SUCCEEDED or row.error["exc_type"] == "SoftTimeLimitExceeded"


def test_a_stuck_executor_does_not_keep_the_worker_from_other_work(workers: Workers, file: Notes) -> None:
    workers.run("-c", "2")
    stuck = ignores_all.apply_async((file.path, FOREVER), time_limit=3)
    file.await_lines(1)
    began = time.monotonic()

    results = noop.delay_many(((), {}) for _ in range(500))
    eventually(all_finished(results))

    assert time.monotonic() - began < 20
    assert stored(stuck).state == State.FAILED


def test_solo_interrupts_what_it_cannot_kill_and_says_so_and_goes_on(workers: Workers, file: Notes) -> None:
    worker = workers.run("-P", "solo")

    listens = sleeps_in_one_piece.apply_async((FOREVER,), time_limit=0.1)
    ignores = ignores_all.apply_async((file.path, 0.5), time_limit=0.1)

    assert stored(listens).error["exc_type"] == "TimeLimitExceeded"
    assert stored(ignores).state == State.SUCCEEDED
    worker.wait_for_log("the pool solo cannot kill a task: the time limit of 0.1 s of this call interrupts it")
    assert stored(process.delay()).value == worker.pid


@pytest.mark.parametrize("limit", [0, -1, "soon", float("inf"), True])
def test_a_limit_that_is_no_duration_is_refused(limit: Any) -> None:
    with pytest.raises(ValueError, match="expected time_limit to be a number of seconds above 0, got: "):
        shared_task(name="never", time_limit=limit)(lambda: None)
    with pytest.raises(ValueError, match="expected soft_time_limit to be a number of seconds above 0, got: "):
        noop.apply_async(soft_time_limit=limit)


def test_a_soft_limit_above_the_hard_one_is_refused(db: None) -> None:
    message = r"soft_time_limit must be less than or equal to time_limit: expected at most 1 s, got: 2 s"
    # The definition itself is not, so that its module can be imported.
    never = shared_task(name="tests.never", time_limit=1, soft_time_limit=2)(lambda: None)
    for call in (never.delay, never.apply_async, never.s().delay, chain(noop.si(), never.si()).delay):
        with pytest.raises(ValueError, match=message):
            call()
    with pytest.raises(ValueError, match=message):
        never.delay_many([((), {})])
    with pytest.raises(ValueError, match=message):
        noop.apply_async(time_limit=1, soft_time_limit=2)
    with pytest.raises(ValueError, match=message):
        send_task("somewhere.else", time_limit=1, soft_time_limit=2)
    with pytest.raises(ValueError, match=r"expected at most 0.4 s, got: 1 s"):
        limited.apply_async(soft_time_limit=1)


@pytest.mark.parametrize("option", ["--time-limit", "--soft-time-limit"])
def test_a_worker_refuses_a_limit_that_is_no_duration(workers: Workers, option: str) -> None:
    worker = workers.start(option, "0")

    assert worker.wait() == 1
    assert f"expected {option} to be a number of seconds above 0, got: 0" in worker.log
