"""The command ``runworker``: its options, what it says at start, how it refuses to start, and how it ends by itself."""

from __future__ import annotations

import platform
import re
import signal
import socket
from pathlib import Path
from typing import Any

import django
import pytest
from django.db import connection

import djqueue
from djqueue.models import ReadyTask, RunningTask, ScheduledTask, TaskResult, Worker
from djqueue.results import AsyncResult
from djqueue.states import State

from .site.tasks import add, fails, forgettable, kills_its_process, noop, sleeps_async
from .site.worker_tasks import notes, returns_number
from .worker_process import Notes, Workers, all_finished, database_settings, eventually, stored

HOST = socket.gethostname()
LABEL, _, DOMAIN = HOST.partition(".")


# Options and start


def test_the_first_line_says_what_the_worker_is(workers: Workers) -> None:
    worker = workers.run("-Q", "mail,default", "-X", "slow*", "-c", "2", "-n", "one@here", program=True)

    (line,) = [line for line in worker.log.splitlines() if " ready: " in line]
    for fact in (
        "worker one@here ready:",
        "queues=mail,default,-slow*",
        "pool=processes",
        "concurrency=2",
        connection.settings_dict["NAME"],
        "wake-ups=notify",
        f"djqueue={djqueue.__version__}",
        f"django={django.get_version()}",
        f"python={platform.python_version()}",
    ):
        assert fact in line
    assert int(re.search(r"tasks=(\d+)", line)[1]) > 30


def test_the_password_of_the_database_is_in_no_line(workers: Workers) -> None:
    database = {**database_settings(), "PASSWORD": "sourlemon"}

    worker = workers.start("--burst", "-l", "debug", database=database)

    worker.wait()
    assert "sourlemon" not in worker.log


def test_the_workers_row_says_what_it_is(workers: Workers) -> None:
    worker = workers.run("-Q", "mail,default", "-c", "2", "-n", "one")

    row = Worker.objects.get()
    assert (row.name, row.host, row.pid) == (f"one@{HOST}", HOST, worker.pid)
    assert (row.queues, row.pool, row.concurrency, row.draining) == ("mail,default", "processes", 2, False)
    assert djqueue.__version__ in row.version


@pytest.mark.parametrize(
    ("template", "name"),
    [
        ("plain", f"plain@{HOST}"),
        ("w%i@%h", f"w{{pid}}@{HOST}"),
        ("%n-%%@%d", f"{LABEL}-%@{DOMAIN}"),
    ],
)
def test_a_workers_name_is_expanded(workers: Workers, template: str, name: str) -> None:
    worker = workers.run("-c", "1", "-n", template)

    assert Worker.objects.get().name == name.format(pid=worker.pid)


def test_each_task_has_a_line(workers: Workers) -> None:
    worker = workers.run("-c", "1")
    succeeded, failed = add.apply_async((1, 2), queue="sums"), fails.delay("a lemon")
    eventually(all_finished([succeeded, failed]))

    ends = r"wait=\d+\.\d{3}s run=\d+\.\d{3}s attempt=1 queue="
    log = worker.wait_for_log(f"fails[{failed.id}]")
    log = worker.wait_for_log(f"add[{succeeded.id}]")
    assert re.search(rf"INFO +tests\.site\.tasks\.add\[{succeeded.id}\] succeeded {ends}sums\n", log)
    assert re.search(rf"ERROR +tests\.site\.tasks\.fails\[{failed.id}\] failed {ends}default: TooSour\(", log)
    assert "raise TooSour(message, 42)" in log
    assert "'a lemon', 42" in log


def test_a_higher_log_level_leaves_the_lines_of_what_went_well_away(workers: Workers) -> None:
    noop.delay()
    failed = fails.delay()

    worker = workers.start("--burst", "-c", "1", "-l", "warning")

    assert worker.wait() == 0
    assert f"fails[{failed.id}]" in worker.log
    assert " INFO " not in worker.log
    assert "succeeded" not in worker.log


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["-c", "0"], "expected --concurrency to be 1 to 1024 with --pool processes, got: 0"),
        (["-c", "-1"], "expected --concurrency to be 1 to 1024 with --pool processes, got: -1"),
        (["-c", "5000"], "got: 5000"),
        (["-P", "solo", "-c", "2"], "expected --concurrency 1 with --pool solo, got: 2"),
        (["-n", "worker-%x"], "expected --name to use only %h, %n, %d, %i and %%, got: '%x'"),
        (["-n", " "], "expected --name to give the worker a name"),
        (["-Q", ""], "expected --queues to name at least one queue"),
        (["-Q", "a b"], "expected --queues to hold names of queues, with * and ? as wildcards, got: 'a b'"),
        (["-X", "a;b"], "expected --exclude-queues to hold names of queues"),
        (["--drain-timeout", "-1"], "expected --drain-timeout to be"),
        (["--drain-timeout", "nan"], "expected --drain-timeout to be"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_an_option_that_makes_no_sense_is_an_error_that_names_it(
    workers: Workers, options: list[str], message: str
) -> None:
    worker = workers.start(*options)

    assert worker.wait() == 1
    assert message in worker.log
    assert "Traceback" not in worker.log
    assert not Worker.objects.exists()


@pytest.mark.parametrize("options", [["-P", "eventlet"], ["--loglevel", "loud"], ["-c", "many"]])
def test_an_option_that_does_not_exist_is_an_error_with_the_usage(workers: Workers, options: list[str]) -> None:
    worker = workers.start(*options, program=True)

    assert worker.wait() == 2
    assert "usage: " in worker.log
    assert options[0] in worker.log


# What stops a worker from starting


@pytest.mark.parametrize("pool", ["processes", "solo"])
def test_a_module_of_tasks_that_fails_to_import_is_shown_with_its_traceback(workers: Workers, pool: str) -> None:
    result = noop.delay()

    worker = workers.start("-P", pool, IMPORTS=["tests.site.worker_tasks", "tests.site.broken_tasks"], program=True)

    assert worker.wait() == 1
    assert "the tasks could not be loaded" in worker.log
    assert "LookupError: the lemons are sold out" in worker.log
    assert "broken_tasks.py" in worker.log
    assert result.state == "PENDING"
    assert not Worker.objects.exists()
    assert not worker.survivors()


def test_a_module_of_tasks_that_does_not_exist_is_named(workers: Workers) -> None:
    worker = workers.start(IMPORTS=["tests.site.no_such_module"])

    assert worker.wait() == 1
    assert "No module named 'tests.site.no_such_module'" in worker.log


def test_a_database_that_is_not_migrated_is_an_error_that_says_what_to_do(workers: Workers) -> None:
    worker = workers.start(database={**database_settings(), "NAME": "template1"})

    assert worker.wait() == 1
    assert "lacks djqueue's tables" in worker.log
    assert "manage.py migrate" in worker.log
    assert "Traceback" not in worker.log


def test_another_kind_of_database_is_an_error_that_names_it(workers: Workers) -> None:
    worker = workers.start(database={"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"})

    assert worker.wait() == 1
    assert "PostgreSQL" in worker.log
    assert "sqlite" in worker.log
    assert "Traceback" not in worker.log


def test_a_database_that_does_not_answer_is_an_error_that_names_it(workers: Workers, tmp_path: Path) -> None:
    database: dict[str, Any] = {**database_settings(), "HOST": str(tmp_path), "PORT": "5432"}

    worker = workers.start(database=database)

    assert worker.wait() == 1
    assert "the database 'default' does not answer" in worker.log
    assert "Traceback" not in worker.log


def test_an_unknown_setting_is_an_error_that_suggests_the_nearest(workers: Workers) -> None:
    worker = workers.start(CONCURENCY=2)

    assert worker.wait() == 1
    assert "CONCURENCY" in worker.log
    assert "CONCURRENCY" in worker.log


def test_the_command_has_a_second_name(workers: Workers) -> None:
    result = noop.delay()

    worker = workers.start("--burst", "-c", "1", command="djqueue_worker", program=True)

    assert worker.wait() == 0
    assert result.state == "SUCCESS"


# Burst


def test_a_burst_ends_when_nothing_is_left_to_run(workers: Workers, file: Notes) -> None:
    results = notes.delay_many(((file.path, place), {}) for place in range(500))
    due = notes.apply_async((file.path, "due"), countdown=-1)
    later = notes.apply_async((file.path, "later"), countdown=3600)
    other = notes.apply_async((file.path, "other"), queue="other", priority=-3)

    worker = workers.start("--burst", "-c", "2")

    assert worker.wait() == 0
    assert all_finished([*results, due, other])()
    assert ScheduledTask.objects.get().task_id.hex == later.id.replace("-", "")
    assert not ReadyTask.objects.exists()
    assert not Worker.objects.exists()
    assert f"{len(results) + 2} attempts settled" in worker.log


def test_a_burst_goes_on_after_postgresql_refused_a_value(workers: Workers, file: Notes) -> None:
    refused = returns_number.delay(140_000)
    results = notes.delay_many(((file.path, place, 0.01), {}) for place in range(50))

    worker = workers.start("-c", "1", "--burst")

    assert worker.wait() == 0
    assert all_finished([refused, *results])()
    assert refused.state == "FAILURE"


def test_a_burst_with_nothing_to_do_ends_at_once(workers: Workers) -> None:
    worker = workers.start("--burst")

    assert worker.wait() == 0


def test_a_burst_retries_a_task_that_kills_its_executor_before_it_ends(workers: Workers) -> None:
    result = kills_its_process.delay()

    worker = workers.start("--burst", "-c", "1", CRASH_LIMIT=2)

    assert worker.wait() == 0
    assert (stored(result).state, stored(result).attempt) == (State.FAILED, 2)


def test_a_burst_leaves_the_queues_of_others_alone(workers: Workers, file: Notes) -> None:
    served, unserved = (notes.apply_async((file.path, queue), queue=queue) for queue in ("mine", "yours"))

    worker = workers.start("--burst", "-c", "1", "-Q", "mine")

    assert worker.wait() == 0
    assert (served.state, unserved.state) == ("SUCCESS", "PENDING")


# Solo


def test_a_solo_worker_runs_tasks_in_its_own_process(workers: Workers, file: Notes) -> None:
    results = [notes.delay(file.path, place) for place in range(50)]

    worker = workers.run("-P", "solo")

    eventually(all_finished(results))
    assert {int(pid) for _, _, pid in file.lines()} == {worker.pid}
    assert [int(text) for text in file.texts()] == list(range(50))
    assert "pool=solo" in worker.log


def test_a_solo_worker_stores_failures_and_goes_on(workers: Workers) -> None:
    workers.run("-P", "solo")

    failed, coroutine, forgotten = fails.delay(), sleeps_async.delay(0.01), forgettable.delay()

    assert stored(failed).error["exc_type"] == "TooSour"
    assert coroutine.get(timeout=30) == 0.01
    eventually(lambda: not RunningTask.objects.exists() and not ReadyTask.objects.exists())
    assert not TaskResult.objects.filter(task_id=forgotten.id).exists()


def test_a_solo_burst_ends_by_itself(workers: Workers) -> None:
    results = [noop.delay() for _ in range(100)]

    worker = workers.start("-P", "solo", "--burst")

    assert worker.wait() == 0
    assert all_finished(results)()


def test_a_solo_worker_that_a_task_kills_is_a_lost_worker(workers: Workers) -> None:
    doomed = workers.run("-P", "solo", LEASE=1.5, HEARTBEAT=0.3, CRASH_LIMIT=2)
    result: AsyncResult = kills_its_process.delay()
    assert doomed.wait() == -signal.SIGKILL

    workers.run("-c", "1", LEASE=1.5, HEARTBEAT=0.3, CRASH_LIMIT=2)

    row = stored(result)
    assert (row.state, row.attempt, row.error["exc_type"]) == (State.FAILED, 2, "WorkerLostError")
