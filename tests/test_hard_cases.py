"""What one task does, in good faith or not, stops no other and is told as it was."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection, transaction

from djqueue.context import Request
from djqueue.control import revoke
from djqueue.models import ReadyTask
from djqueue.states import State
from djqueue.updates import update_state

from .site import hard_tasks as site
from .site.guarantee_tasks import at_most_once
from .site.tasks import noop, sleeps
from .worker_process import Notes, Workers, all_finished, database_settings, eventually, interrupt, stored

pytestmark = pytest.mark.django_db(transaction=True)
MODULES = ["tests.site.hard_tasks", "tests.site.worker_tasks", "tests.site.signal_tasks"]


@pytest.mark.parametrize("when", [1e300, 1e12])
def test_a_retry_at_no_possible_time_is_a_failure(workers: Workers, when: float):
    workers.run("-c", "1", IMPORTS=MODULES)
    row = stored(site.retries_by_hand.delay(when))
    assert (row.state, row.error["exc_type"]) == (State.FAILED, "ValueError")
    assert "a hundred years" in row.error["exc_message"][0]
    assert noop.delay().get(timeout=30) is None


def test_a_retry_by_hand_may_name_a_moment(workers: Workers, file: Notes):
    workers.run("-c", "1", IMPORTS=MODULES)
    assert stored(site.retries_at.delay(file.path, 0.7)).state == State.SUCCEEDED
    first, second = (float(line[1]) for line in file.lines())
    assert second - first > 0.6


def test_a_task_may_have_more_attempts_than_a_small_integer_holds(workers: Workers):
    result = site.polls.delay(32_770)
    ReadyTask.objects.filter(task_id=result.id).update(attempt=32_765)
    workers.run("-c", "1", IMPORTS=MODULES)
    assert result.get(timeout=30) == 32_770
    assert noop.delay().get(timeout=30) is None


@pytest.mark.parametrize("state", ["PRO\x00GRESS", "\ud800", "A\nB"])
def test_a_state_that_is_no_text_is_refused(state: str):
    with pytest.raises(ValueError, match="printable characters"):
        update_state(Request(id=str(uuid.uuid4())), None, state, None)


@pytest.mark.parametrize("pool", ["asyncio", "processes"])
def test_a_cancelled_coroutine_cleans_up_undisturbed(workers: Workers, file: Notes, pool: str):
    workers.run("-P", pool, "-c", "2", IMPORTS=MODULES, HEARTBEAT=0.2)
    result = site.cleans_up_slowly.delay(file.path, 1.0)
    file.await_lines(1)
    result.revoke()
    file.await_lines(2)
    revoke(str(uuid.uuid4()))
    result.revoke()
    assert stored(result).state == State.CANCELLED
    assert file.texts() == ["begun", "cleaning", "cleaned"]


@pytest.mark.parametrize("pool", ["asyncio", "processes", "threads"])
def test_an_interrupted_coroutine_cleans_up_undisturbed(workers: Workers, file: Notes, pool: str):
    worker = workers.run("-P", pool, "-c", "2", IMPORTS=MODULES)
    result = site.cleans_up_slowly.delay(file.path, 1.2)
    file.await_lines(1)
    interrupt(worker)
    assert worker.wait() == 3
    assert file.texts() == ["begun", "cleaning", "cleaned"]
    assert ReadyTask.objects.filter(task_id=result.id, attempt=0).exists()


def test_a_task_that_has_returned_is_cancelled_no_more(workers: Workers, file: Notes):
    workers.run("-P", "asyncio", "-c", "2", IMPORTS=MODULES)
    result = site.returns_to_its_hook.delay(file.path)
    file.await_lines(1)
    result.revoke()
    assert result.get(timeout=30) == 5
    assert file.texts() == ["success"]


def test_what_fails_after_the_commit_changes_nothing_of_it(workers: Workers, file: Notes):
    worker = workers.run("-c", "1", IMPORTS=MODULES)
    result = site.commits_and_then_fails.delay(file.path)
    assert result.get(timeout=30) == 5
    file.await_lines(1)
    assert file.texts() == ["success"]
    worker.wait_for_log("what was to follow the commit of")
    worker.wait_for_log("after the commit")


@pytest.mark.parametrize("pool", ["threads", "processes"])
def test_what_has_ended_is_told_although_something_long_runs(workers: Workers, pool: str):
    workers.run("-P", pool, "-c", "4", IMPORTS=MODULES)
    eventually(all_finished([noop.delay() for _ in range(20)]))
    for _ in range(3):
        with transaction.atomic():
            short = [noop.delay() for _ in range(6)]
            long = sleeps.delay(60)
        eventually(all_finished(short), timeout=15)
        assert long.state in ("STARTED", "PENDING")
        long.revoke(terminate=True, wait=True, timeout=30)


def test_a_heartbeat_receiver_that_hangs_is_alone(workers: Workers, file: Notes):
    worker = workers.run("-c", "1", IMPORTS=["tests.site.hanging_signals"], HEARTBEAT=0.1)
    seen: list[int] = []

    def beats() -> bool:
        seen.append(len(worker.fork_server().children()))
        return len(seen) > 60

    eventually(beats)
    assert max(seen) <= 2  # the executor and one receiver
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


@pytest.fixture
def few_connections() -> Iterator[dict[str, Any]]:
    """How to reach the database as a role that may have two connections: the worker's own."""
    name, password = f"djqueue_few_{uuid.uuid4().hex[:8]}", "secret"
    with connection.cursor() as cursor:
        cursor.execute(f"CREATE ROLE {name} LOGIN CONNECTION LIMIT 2 PASSWORD '{password}'")
        cursor.execute(f"GRANT ALL ON ALL TABLES IN SCHEMA public TO {name}")
        cursor.execute(f"GRANT ALL ON ALL SEQUENCES IN SCHEMA public TO {name}")
    yield {**database_settings(), "USER": name, "PASSWORD": password}
    with connection.cursor() as cursor:
        cursor.execute(f"DROP OWNED BY {name}")
        cursor.execute(f"DROP ROLE {name}")


def test_a_start_that_cannot_be_stored_is_said_and_does_not_spin(
    few_connections: dict[str, Any], workers: Workers, file: Notes
):
    worker = workers.run("-c", "1", database=few_connections, IMPORTS=["tests.site.guarantee_tasks"])
    result = at_most_once.delay(file.path)
    worker.wait_for_log("could not be stored")
    assert worker.log.count("could not be stored") < 5
    with connection.cursor() as cursor:
        cursor.execute(f"ALTER ROLE {few_connections['USER']} CONNECTION LIMIT -1")
    assert result.get(timeout=30) == "done"
    assert len(file.lines()) == 1
