"""Commands to one worker that lives through all tests of a class: what each does, and what it refuses."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from django.db import connection, transaction

from djqueue import control
from djqueue.models import CommandReply, ParkedTask, RateLimit, Worker
from djqueue.states import State

from .asking import PATIENT, ask, run, tell
from .site import control_tasks as site
from .site.models import Mark
from .site.tasks import add, noop
from .site.worker_tasks import notes
from .worker_process import Notes, WorkerProcess, Workers, all_finished, eventually, stored


def send(name: str, arguments: str = "{}", seconds: float = 60.0) -> int:
    """Write a command to the one worker, as ``control`` does, but wake nobody and check nothing; return its id."""
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO djqueue_workercommand (name, arguments, expires_at)"
            " VALUES (%s, %s, now() + make_interval(secs => %s)) RETURNING id",
            (name, arguments, seconds),
        )
        (command_id,) = cursor.fetchone()
        cursor.execute(
            "INSERT INTO djqueue_commandreply (command_id, worker_id, worker) VALUES (%s, %s, '')",
            (command_id, Worker.objects.get().pk),
        )
    return int(command_id)


def answered(command_id: int) -> CommandReply:
    """Wait for the answer to what was sent."""
    return eventually(lambda: CommandReply.objects.filter(command_id=command_id, answered_at__isnull=False).first())


def site_commands(worker: WorkerProcess, pool: str) -> None:
    """Ask what ``tests.site.control_tasks`` has added."""
    assert ask("echo", text="lemon", times=2, extra={"a": [1]}) == {
        "said": ["lemon", "lemon"],
        "extra": {"a": [1]},
        "by": "one@here",
        "pool": pool,
    }
    assert tell("leave_mark", name="sour")["ok"].endswith("tasks are known")
    assert Mark.objects.get().name == f"sour {Worker.objects.get().pk}"
    for what, error in [
        ("set", "the reply of unstorable cannot be stored"),
        ("nul", "U+0000"),
        ("nan", "NaN"),
        ("huge", "the reply of unstorable has 2,000,002 characters, and may have 1,048,576"),
    ]:
        assert error in ask("unstorable", what=what)["error"]
    assert ask("unstorable", what="else")["error"] == "KeyError: 'else'"
    assert ask("fails_at_it") == {"error": "LookupError: the lemons are sold out"}
    worker.wait_for_log("LookupError")
    assert ask("ping") == {"ok": "pong"}


@pytest.fixture(scope="class")
def one(lasting_workers: Workers) -> WorkerProcess:
    return run(lasting_workers, "-c", "2", "-n", "one@here")


@pytest.fixture(scope="class")
def solo(lasting_workers: Workers) -> WorkerProcess:
    return run(lasting_workers, "-P", "solo", "-n", "one@here")


class TestProcesses:
    """A worker with two executors, which each test leaves as it was."""

    @pytest.fixture(autouse=True)
    def left_as_it_was(self, one: WorkerProcess) -> Any:
        yield
        assert one.process.poll() is None
        eventually(lambda: ask("stats")["pool"]["executors"] == 2)
        assert ask("stats")["time_limits"] == {}

    def test_stats_say_what_a_worker_is_and_has_done(self, one: WorkerProcess):
        before = ask("stats")["total"]
        results = [add.delay(1, place) for place in range(20)]
        eventually(all_finished(results))

        stats = ask("stats")

        assert (stats["pid"], stats["draining"], stats["queues"]) == (one.pid, False, "*")
        assert stats["total"] == {**before, "succeeded": before["succeeded"] + 20}
        pool = stats["pool"]
        assert (pool["implementation"], pool["executors"], pool["max-concurrency"]) == ("processes", 2, 2)
        assert sorted(pool["processes"]) == sorted(executor.pid for executor in one.executors())
        assert stats["rusage"]["rss"] > 10_000
        assert 0 <= stats["uptime"] < 600

    def test_a_reply_comes_within_a_second(self):
        took = []
        for _ in range(20):
            began = time.monotonic()
            assert len(control.inspect(timeout=PATIENT).ping()) == 1
            took.append(time.monotonic() - began)
        assert sorted(took)[10] < 1.0  # the machine may do other things now and then

    def test_a_worker_that_missed_a_wake_up_looks_at_its_heartbeat(self):
        assert answered(send("ping")).value == {"ok": "pong"}

    def test_a_worker_under_load_answers_too(self):
        results = noop.delay_many(((), {}) for _ in range(3000))
        answers = [ask("stats")["total"]["succeeded"] for _ in range(10)]
        assert answers == sorted(answers)
        eventually(all_finished(results))

    def test_an_order_that_is_too_old_is_not_obeyed(self):
        command_id = send("pool_grow", seconds=0.0)
        eventually(lambda: CommandReply.objects.filter(command_id=command_id, taken_at__isnull=False).exists())
        assert ask("stats")["pool"]["executors"] == 2

    def test_orders_that_make_no_sense_are_answered_with_an_error(self):
        for command, arguments, error in [
            ("pool_shrink", {"n": 2}, "expected the pool to have 1 to 64 executors, got: 0"),
            ("pool_grow", {"n": 63}, "expected the pool to have 1 to 64 executors, got: 65"),
            ("pool_grow", {"n": 0}, "expected n to be 1 or more, got: 0"),
            ("autoscale", {"max": 1, "min": 2}, "expected max to be min or more, and min 1 or more, got: max=1, min=2"),
            ("add_consumer", {"queue": "a b"}, "expected queue to hold names of queues"),
            ("add_consumer", {"queue": " "}, "expected queue to name a queue, got: ' '"),
            ("add_consumer", {"queue": "!mail"}, "expected queue to name a queue, got: '!mail'"),
            ("add_consumer", {"queue": "mail=2"}, "expected queue to name a queue, got: 'mail=2'"),
            ("add_consumer", {"queue": "mail!"}, "expected queue to hold names of queues"),
            ("time_limit", {"task_name": "x", "hard": 1, "soft": 2}, "expected soft to be at most hard (1 s), got: 2"),
            ("time_limit", {"task_name": "x", "hard": -1}, "expected hard to be"),
        ]:
            assert error in tell(command, **arguments)["error"]
        assert "unknown command 'no_such_command'" in tell("no_such_command", x=1)["error"]
        # What the asker does not know, the worker checks.
        assert "expected n of pool_grow" in str(answered(send("pool_grow", '{"n": "many"}')).error)

    def test_a_pool_that_changes_all_the_time_loses_nothing(self):
        before = ask("stats")["total"]["succeeded"]
        results = noop.delay_many(((), {}) for _ in range(3000))
        for _ in range(5):
            tell("pool_grow", n=2)
            tell("pool_shrink", n=3)
            tell("pool_grow", n=1)
        eventually(all_finished(results))
        assert ask("stats")["pool"]["executors"] == 2
        assert ask("stats")["total"]["succeeded"] == before + 3000

    def test_time_limits_can_be_changed_while_the_worker_runs(self, file: Notes, tmp_path: Path):
        never = str(tmp_path / "never")
        assert tell("time_limit", task_name=site.holds.name, hard=0.3)["ok"]
        assert stored(site.holds.delay(file.path, never)).error["exc_type"] == "TimeLimitExceeded"
        tell("time_limit", task_name=site.holds.name, soft=0.2)
        assert stored(site.holds.delay(file.path, never)).error["exc_type"] == "SoftTimeLimitExceeded"
        tell("time_limit", task_name=site.holds.name)
        assert ask("stats")["time_limits"] == {}
        # A call's own limit wins.
        tell("time_limit", task_name=notes.name, hard=0.2)
        result = notes.apply_async((file.path, "x", 0.6), time_limit=30)
        assert stored(result).state == State.SUCCEEDED
        tell("time_limit", task_name=notes.name)

    def test_a_rate_limit_is_set_for_all_and_acts_on_what_waits(self):
        assert control.rate_limit(noop.name, "1/h") is None
        first = noop.delay_many(((), {}) for _ in range(5))
        eventually(lambda: ParkedTask.objects.count() == 4)
        with pytest.raises(ValueError, match="expected"):
            control.rate_limit(noop.name, "fast")
        control.rate_limit(noop.name, "1000/s")
        eventually(all_finished(first))
        control.rate_limit(noop.name, None)
        assert not RateLimit.objects.filter(name=noop.name, per_second__isnull=False).exists()

    def test_terminate_kills_what_runs(self, file: Notes, tmp_path: Path):
        result = site.holds.delay(file.path, str(tmp_path / "never"))
        file.await_lines(1)
        assert control.terminate(result.id) == set()
        assert stored(result).state == State.CANCELLED

    def test_an_order_is_part_of_the_transaction(self):
        with transaction.atomic():
            control.pool_grow(1)
            transaction.set_rollback(True)
        with transaction.atomic():
            control.pool_grow(2)
            # A question is not: it would wait for an answer that nobody can give.
            assert ask("stats")["pool"]["executors"] == 2
        eventually(lambda: ask("stats")["pool"]["executors"] == 4)
        tell("pool_shrink", n=2)

    def test_a_site_has_commands_of_its_own(self, one: WorkerProcess):
        site_commands(one, "processes")

    def test_a_command_of_the_sites_ends_with_its_time_and_holds_up_nobody(self, one: WorkerProcess):
        fork_server = one.fork_server()
        replies = control.inspect(timeout=0.5).request("takes_long", seconds=60)
        assert replies.silent == ("one@here",)
        eventually(lambda: len(fork_server.children()) == 2, what="its process to end")
        executors = {child.pid for child in fork_server.children()}
        began = time.monotonic()
        control.broadcast("takes_long", {"seconds": 20})
        assert ask("ping") == {"ok": "pong"}
        eventually(all_finished([noop.delay()]))
        assert time.monotonic() - began < 20
        for child in fork_server.children():
            if child.pid not in executors:
                child.kill()


class TestSolo:
    def test_it_has_one_executor_for_good(self, solo: WorkerProcess):
        assert "--pool solo has one executor" in tell("pool_grow")["error"]
        assert "cannot honour hard" in tell("time_limit", task_name="x", hard=3.0)["error"]
        assert ask("ping") == {"ok": "pong"}
        assert site.holds.name in ask("registered")

    def test_a_site_has_commands_of_its_own(self, solo: WorkerProcess):
        site_commands(solo, "solo")


def test_a_worker_that_cannot_listen_looks_every_second(workers: Workers):
    run(workers, "-P", "solo", LISTEN=False, HEARTBEAT=100, LEASE=300)
    assert answered(send("ping")).value == {"ok": "pong"}
