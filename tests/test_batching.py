"""Batches: tasks whose function takes many calls at once, each with a result of its own."""

from __future__ import annotations

import signal

import pytest
from django.test import override_settings
from hypothesis import given
from hypothesis import strategies as st

from djqueue import chain, shared_task
from djqueue.models import ConcurrencySlot, ReadyTask, RunningTask, TaskAttempt
from djqueue.records import Claim
from djqueue.worker.batches import Gathering

from .site.routing_tasks import (
    doubled,
    endless_batch,
    gathered,
    leaves_a_note,
    limited_batch,
    marks,
    patient_batch,
    returns_nonsense,
)
from .site.tasks import add
from .worker_process import all_finished, attempts_in_line, eventually, stored

pytestmark = pytest.mark.django_db(transaction=True)
POOLS = [("processes", "2"), ("threads", "3"), ("asyncio", "3"), ("solo", "1")]


def sizes(file) -> list[int]:
    return [len(line[0].split(",")) for line in file.lines()]


class TestCalls:
    @pytest.mark.parametrize(("pool", "concurrency"), POOLS)
    def test_each_task_has_its_own_result_in_every_pool(self, workers, file, pool, concurrency):
        results = doubled.delay_many([((file.path, value), {}) for value in (*range(24), -1)])
        workers.run("-P", pool, "-c", concurrency)
        eventually(all_finished(results), what="25 results")
        assert [result.get() for result in results[:24]] == [value * 2 for value in range(24)]
        with pytest.raises(ValueError, match="negative: -1"):
            results[24].get()
        assert sum(sizes(file)) == 25
        assert max(sizes(file)) <= 10
        assert len(sizes(file)) < 10

    @pytest.mark.parametrize(("pool", "concurrency"), POOLS)
    def test_a_coroutine_function_takes_batches_too(self, workers, file, pool, concurrency):
        results = gathered.delay_many([((file.path, value), {}) for value in range(6)])
        workers.run("-P", pool, "-c", concurrency)
        assert all(1 <= result.get(timeout=30) <= 3 for result in results)
        assert sum(sizes(file)) == 6

    def test_a_batch_that_does_not_fill_runs_after_its_wait(self, workers, file):
        workers.run("-c", "1")
        assert doubled.delay(file.path, 4).get(timeout=30) == 8

    def test_marking_returning_by_id_and_both(self, workers, file):
        words = ["done", "fail", "retry", "by id", "nothing"]
        results = dict(zip(words, marks.delay_many([((file.path, word), {}) for word in words]), strict=True))
        workers.run("-c", "1", "-P", "threads")
        eventually(all_finished(results.values()), what="all results")
        assert results["done"].get() == "marked"
        assert results["by id"].get() == "marks"
        assert results["retry"].get() is results["nothing"].get() is None
        with pytest.raises(RuntimeError, match="marked"):
            results["fail"].get()
        assert [a.outcome for a in TaskAttempt.objects.filter(task_id=results["retry"].id)] == [11]

    def test_what_the_function_raises_fails_all_that_are_not_marked(self, workers, file):
        results = marks.delay_many([((file.path, word), {}) for word in ("raise", "done", "done")])
        workers.run("-c", "1")
        eventually(all_finished(results), what="all results")
        for result in results:
            with pytest.raises(RuntimeError, match="all of them"):
                result.get()

    def test_a_batch_cannot_retry_itself(self, workers, file):
        result = marks.delay(file.path, "retry-all")
        workers.run("-c", "1")
        assert "a batch cannot retry itself" in str(stored(result).error)

    def test_what_makes_no_sense_as_results_fails_all(self, workers):
        results = returns_nonsense.delay_many([((), {})] * 2)
        workers.run("-c", "1")
        eventually(all_finished(results), what="both results")
        assert "or a dict of results by id, got: a list of 3" in str(stored(results[0]).error)

    def test_plain_tasks_run_beside_batches(self, workers, file):
        mixed = [
            doubled.delay(file.path, 1),
            *[add.delay(1, number) for number in range(20)],
            doubled.delay(file.path, 2),
        ]
        workers.run("-c", "1")
        assert [result.get(timeout=30) for result in mixed] == [2, *range(1, 21), 4]

    def test_plain_tasks_without_end_do_not_starve_a_batch(self, workers, file):
        leaves_a_note.delay_many([((file.path, "plain"), {})] * 6000)
        batch = doubled.apply_async((file.path, 1), priority=1)
        workers.run("-c", "1")
        assert batch.get(timeout=30) == 2
        assert ReadyTask.objects.exists()

    def test_a_step_of_a_workflow_can_be_a_batch(self, workers, file):
        workers.run("-c", "1")
        assert chain(doubled.si(file.path, 3), add.s(1)).delay().get(timeout=30) == 7

    def test_a_cancelled_task_is_left_out(self, workers, file):
        results = doubled.delay_many([((file.path, value), {}) for value in range(3)])
        results[1].revoke()
        workers.run("-c", "1")
        assert [results[0].get(timeout=30), results[2].get(timeout=30)] == [0, 4]
        assert results[1].state == "REVOKED"

    def test_in_eager_mode_a_batch_has_one_task(self, file):
        with override_settings(DJQUEUE={"ALWAYS_EAGER": True}):
            assert doubled.delay(file.path, 4).get() == 8
            assert gathered.delay(file.path, 4).get() == 1
            with pytest.raises(ValueError, match="negative"):
                doubled.delay(file.path, -4).get()


class TestEnds:
    def test_a_crash_gives_all_back(self, workers, file):
        results = marks.delay_many([((file.path, word), {}) for word in ("crash", "by id", "by id")])
        workers.run("-c", "1")
        eventually(all_finished(results), what="all results")
        assert [result.get() for result in results] == [None, "marks", "marks"]
        lost = TaskAttempt.objects.filter(outcome=9).values_list("task_id", flat=True)
        assert {str(task_id) for task_id in lost} == {result.id for result in results}

    def test_a_hard_time_limit_fails_all(self, workers, file):
        results = [endless_batch.apply_async((file.path, value), time_limit=1) for value in range(4)]
        workers.run("-c", "1")
        eventually(all_finished(results), what="all results")
        assert all("TimeLimitExceeded" in str(stored(result).error) for result in results)
        assert len(sizes(file)) <= 2

    @pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
    def test_the_shortest_soft_limit_of_its_tasks_is_that_of_the_batch(self, workers, file, pool):
        results = [endless_batch.apply_async((file.path, 0), soft_time_limit=limit) for limit in (60, 0.3)]
        workers.run("-c", "1", "-P", pool)
        assert "SoftTimeLimitExceeded" in str(stored(results[1]).error)
        workers.started[0].send(signal.SIGTERM)
        workers.started[0].wait_for_log("drain")
        workers.started[0].send(signal.SIGTERM)

    def test_what_is_gathered_goes_back_when_the_worker_stops(self, workers, file):
        results = patient_batch.delay_many([((file.path, value), {}) for value in range(2)])
        worker = workers.run("-c", "1")
        eventually(lambda: RunningTask.objects.count() == 2, what="both claimed")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        assert attempts_in_line() == {result.id: 0 for result in results}
        assert file.lines() == []

    def test_a_batch_that_runs_is_finished_when_the_worker_stops(self, workers, file):
        results = doubled.delay_many([((file.path, value), {}) for value in range(10)])
        worker = workers.run("-c", "1")
        eventually(lambda: file.lines(), what="the first batch")
        worker.send(signal.SIGTERM)
        assert worker.wait() == 0
        assert all(result.state in ("SUCCESS", "PENDING") for result in results)

    def test_a_second_signal_interrupts_it_and_all_goes_back(self, workers, file):
        results = endless_batch.delay_many([((file.path, value), {}) for value in range(2)])
        worker = workers.run("-c", "1")
        eventually(lambda: sum(sizes(file)) == 2 or len(sizes(file)) == 1, what="a batch that runs")
        worker.send(signal.SIGTERM)
        worker.wait_for_log("drain")
        worker.send(signal.SIGTERM)
        worker.wait()
        assert attempts_in_line() == {result.id: 0 for result in results}


class TestOptions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"batch": 0}, "expected batch of task t to be a whole number from 1 to 10000, got: 0"),
            ({"batch": True}, "got: True"),
            ({"batch": 5, "batch_wait": -1}, "expected batch_wait of task t to be a number of seconds, got: -1"),
            ({"batch": 5, "transactional": True}, "expected task t to have batch or transactional, got both"),
            ({"batch": 5, "pydantic": True}, "expected task t to have batch or pydantic, got both"),
            ({"batch": 5, "acks_late": False}, "expected task t to have batch, or to run at most once, got both"),
        ],
    )
    def test_what_cannot_be_is_named(self, options, message):
        with pytest.raises((TypeError, ValueError), match=message):
            shared_task(name="t", **options)(lambda requests: None)


def claim(number: int, name: str) -> Claim:
    return Claim(str(number), 1, name, "[]", "{}", None, "q", 0, 0.0, 0.0)


@given(st.lists(st.tuples(st.sampled_from("ab"), st.integers(0, 3)), max_size=40), st.integers(1, 5), st.integers(0, 9))
def test_gathering_loses_nothing_and_keeps_to_size_and_wait(arrivals, size, wait):
    gathering = Gathering()
    gathering.rules = {"a": (size, wait), "b": (size, wait)}
    now, taken, came = 0.0, [], {}
    for number, (name, pause) in enumerate(arrivals):
        now += pause
        came[str(number)] = now
        gathering.add(claim(number, name), now)
        while batch := gathering.take(now):
            assert len({one.name for one in batch}) == 1
            assert len(batch) == size or now - came[batch[0].id] >= wait
            taken.append(batch)
    while batch := gathering.take(now + wait + 1):
        taken.append(batch)
    assert all(len(batch) <= size for batch in taken)
    for name in "ab":
        ids = [int(one.id) for batch in taken for one in batch if one.name == name]
        assert ids == sorted(ids)
    assert sum(map(len, taken)) == len(arrivals)
    assert len(gathering) == 0


class TestLimits:
    """Each task of a batch has its own slot, from its claim to the end of the batch."""

    @pytest.mark.parametrize("pool", ["processes", "threads"])
    def test_slots_are_held_until_the_batch_ends(self, workers, file, pool):
        calls = [((), {"path": file.path, "shop": "a", "text": str(number)}) for number in range(7)]
        results = limited_batch.delay_many(calls)
        workers.run("-c", "2", "-P", pool)
        workers.run("-c", "2", "-P", pool)
        eventually(all_finished(results), what="all results")
        running: set[str] = set()
        for sign, texts in (line[0:2] for line in file.lines()):
            assert len(texts.split(",")) <= 3
            running = running | set(texts.split(",")) if sign == "+" else running - set(texts.split(","))
            assert len(running) <= 3
        assert not running
        assert {result.get() for result in results} <= {1, 2, 3}
        assert results[0].get() >= len(file.lines()[0][1].split(","))
        eventually(lambda: not ConcurrencySlot.objects.exists())

    def test_batches_gather_tasks_of_several_keys(self, workers, file):
        calls = [((), {"path": file.path, "shop": shop, "text": "x"}) for shop in "abc"]
        results = limited_batch.delay_many(calls)
        workers.run("-c", "1")
        eventually(all_finished(results), what="all results")
        assert sorted(len(line[1].split(",")) for line in file.lines() if line[0] == "+") == [3]

    def test_a_unique_one_holds_its_key_while_the_batch_gathers_and_runs(self, workers, file):
        call = {"path": file.path, "shop": "a", "text": "only"}
        first = limited_batch.delay(**call)
        workers.run("-c", "1")
        eventually(lambda: RunningTask.objects.exists(), what="the claim")
        assert limited_batch.delay(**call).id == first.id or first.ready()
        assert first.get(timeout=30) == 1
        assert limited_batch.delay(**call).created

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"concurrency_limit": 9}, "expected batch of task t.b to be at most 9, because without a concurrency_key"),
            ({"concurrency_ordered": True}, "expected batch of task t.b to be at most 1, because"),
            ({"concurrency_key": "{a b"}, "concurrency_key of task t.b to be a format string"),
        ],
    )
    def test_limits_that_make_no_sense_with_it_are_refused(self, options, message):
        with pytest.raises(ValueError, match=message):
            shared_task(name="t.b", batch=10, **options)(lambda requests: None)

    def test_an_argument_that_a_key_needs_is_missed_at_the_call(self):
        with pytest.raises(ValueError, match=r"concurrency_key of task .*limited_batch"):
            limited_batch.delay(path="x", text="y", unique=False)
