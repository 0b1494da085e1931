"""At most once and exactly once, whatever dies."""

from __future__ import annotations

import random
import signal
from collections import Counter

import pytest

from djqueue.decorator import define
from djqueue.models import ReadyTask, RunningTask, Task, TaskAttempt, TaskResult
from djqueue.states import Ending, State

from .site import guarantee_tasks as site
from .site.models import Tally
from .worker_process import Notes, Workers, all_finished, eventually, interrupt, stored

pytestmark = pytest.mark.django_db(transaction=True)

KILLS = 100


def tally(name: str = "t") -> int:
    return Tally.objects.get(name=name).count


class TestExactlyOnce:
    @pytest.fixture(autouse=True)
    def zero(self, workers: Workers) -> None:
        Tally.objects.create(name="t")

    def test_what_the_task_writes_and_its_result_are_committed_together(self, workers: Workers):
        workers.run("-c", "2", "--loglevel", "INFO")
        results = [site.tallies_and.delay("t", "") for _ in range(20)]
        assert [result.get(timeout=30) for result in results] == [7] * 20
        assert tally() == 20
        row = stored(results[0])
        assert row.worker
        assert row.started_at <= row.finished_at
        # Both were written by one transaction, so they carry its number.
        ours, theirs = (
            model.objects.extra(select={"xmin": "xmin::text"}).values_list("xmin", flat=True).get(**which)
            for model, which in ((TaskResult, {"task_id": last_written()}), (Tally, {"name": "t"}))
        )
        assert ours == theirs
        eventually(lambda: workers.started[0].log.count("succeeded") == 20)

    @pytest.mark.parametrize(
        ("ending", "error", "attempts"),
        [
            ("raises", "ValueError", 1),
            ("retries", "MaxRetriesExceededError", 2),
            ("retries without throwing", "MaxRetriesExceededError", 2),
            ("returns nonsense", "EncodeError", 1),
            ("enqueues and raises", "ValueError", 1),
            ("loses its connection", "OperationalError", 1),
        ],
    )
    def test_nothing_is_left_of_an_attempt_that_does_not_succeed(self, workers: Workers, ending, error, attempts):
        workers.run("-c", "1")
        row = stored(site.tallies_and.delay("t", ending))
        assert (row.state, row.error["exc_type"], row.attempt) == (State.FAILED, error, attempts)
        assert tally() == 0
        assert Task.objects.count() == 1
        assert site.tallies_and.delay("t", "").get(timeout=30) == 7
        assert tally() == 1

    def test_nothing_is_written_under_a_lease_that_was_lost(self, workers: Workers):
        worker = workers.run("-c", "1")
        result = site.tallies_and.delay("t", "loses its lease")
        eventually(lambda: "dropped" in worker.log, what="the outcome to be dropped")
        assert tally() == 0
        assert not TaskResult.objects.filter(task_id=result.id).exists()
        assert site.tallies_and.delay("t", "").get(timeout=30) == 7
        Task.objects.filter(id=result.id).delete()
        RunningTask.objects.all().delete()

    def test_an_ignored_result_leaves_nothing_but_what_the_task_wrote(self, workers: Workers):
        workers.run("-c", "1")
        site.tallies_and_leaves_nothing.delay("t")
        eventually(lambda: tally() == 1)
        eventually(lambda: not Task.objects.exists())

    def test_a_hundred_kills_at_random_moments_change_nothing_of_the_count(self, workers: Workers):
        """Of executors, and now and then of the whole worker."""
        chance = random.Random(11)
        options, limits = ("-c", "2"), {"CRASH_LIMIT": 1000, "LEASE": 2}
        worker = workers.run(*options, **limits)
        wanted = 4000
        results = site.tallies.delay_many((("t", chance.uniform(0, 0.003)), {}) for _ in range(wanted))
        killed = Counter[str]()
        while killed.total() < KILLS:
            await_progress(wanted)
            if tally() == wanted:
                wanted += 1000
                results += site.tallies.delay_many((("t", chance.uniform(0, 0.003)), {}) for _ in range(1000))
            if killed.total() % 20 == 10:
                worker.send(signal.SIGKILL)
                worker.wait()
                worker = workers.run(*options, **limits)
                killed["worker"] += 1
            elif executors := worker.executors():
                chance.choice(executors).kill()
                killed["executor"] += 1
        eventually(all_finished(results), timeout=120)
        assert killed["worker"] == 5
        assert set(TaskResult.objects.values_list("state", flat=True)) == {State.SUCCEEDED}
        assert tally() == wanted == len(results)
        assert TaskAttempt.objects.filter(outcome=Ending.LOST).exists()


def await_progress(wanted: int) -> None:
    before = tally()
    eventually(lambda: before == wanted or tally() > before, what="progress")


def last_written() -> object:
    return TaskResult.objects.order_by("-finished_at").values_list("task_id", flat=True)[0]


class TestAtMostOnce:
    def test_it_runs(self, workers: Workers, file: Notes):
        workers.run("-c", "1")
        assert site.at_most_once.delay(file.path).get(timeout=30) == "done"

    @pytest.mark.parametrize("task", [site.at_most_once, site.not_again_after_a_crash], ids=lambda task: task.name)
    def test_it_fails_with_its_executor(self, workers: Workers, file: Notes, task):
        workers.run("-c", "1")
        result = task.delay(file.path, "/nowhere")
        ((_, pid),) = file.await_lines(1)
        workers.started[0].executors()[0].kill()
        row = stored(result)
        assert (row.state, row.error["exc_type"], row.attempt) == (State.FAILED, "WorkerLostError", 1)
        assert file.lines() == [["1", pid]]

    def test_it_fails_with_its_worker(self, workers: Workers, file: Notes):
        worker = workers.run("-c", "1", LEASE=2)
        result = site.at_most_once.delay(file.path, "/nowhere")
        file.await_lines(1)
        behind = [site.at_most_once.delay(file.path) for _ in range(3)]
        worker.send(signal.SIGKILL)
        worker.wait()
        workers.run("-c", "1", LEASE=2)
        assert stored(result).error["exc_type"] == "WorkerLostError"
        # Those that had not started were not lost with it.
        assert [each.get(timeout=30) for each in behind] == ["done"] * 3
        assert len(file.lines()) == 4

    def test_it_fails_when_it_is_interrupted(self, workers: Workers, file: Notes):
        worker = workers.run("-c", "1")
        result = site.at_most_once.delay(file.path, "/nowhere")
        file.await_lines(1)
        interrupt(worker)
        assert worker.wait() == 3
        row = stored(result)
        assert (row.state, row.error["exc_type"]) == (State.FAILED, "WorkerLostError")
        assert "may not run twice" in row.error["exc_message"][0]
        assert not ReadyTask.objects.exists()

    @pytest.mark.parametrize("ending", ["requeues", "retries"])
    def test_it_runs_again_if_it_asks_for_it(self, workers: Workers, file: Notes, ending):
        workers.run("-c", "1")
        assert site.at_most_once.delay(file.path, "", ending).get(timeout=30) == "done"
        assert file.texts() == ["1", "2"]


def test_a_coroutine_cannot_be_transactional():
    with pytest.raises(TypeError, match="expected a function with transactional=True"):
        define_transactional_coroutine()


def define_transactional_coroutine() -> None:
    async def coroutine() -> None: ...

    define(coroutine, transactional=True)
