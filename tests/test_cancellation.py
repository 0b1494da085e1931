"""Cancelling tasks that run: by asking, and by ending their executor."""

from __future__ import annotations

import signal
import uuid
from collections.abc import Callable
from pathlib import Path

import pytest
from django.db import transaction
from django.db.models.functions import Now

from djqueue import AsyncResult, Signature, chain
from djqueue.control import revoke, revoke_by_stamped_headers
from djqueue.exceptions import TaskRevokedError
from djqueue.models import ReadyTask
from djqueue.states import State

from .site import guarantee_tasks as site
from .site.worker_tasks import notes
from .worker_process import Notes, Workers, all_finished, eventually, interrupt, stored

pytestmark = pytest.mark.django_db(transaction=True)


def pool(name: str) -> tuple[str, ...]:
    return ("-P", name, "-c", "1") if name == "processes" else ("-P", name, "-c", "4")


@pytest.mark.parametrize("name", ["processes", "threads", "asyncio", "solo"])
def test_a_task_that_asks_finds_out_and_may_end_as_it_likes(workers: Workers, file: Notes, name: str):
    workers.run(*(("-P", "solo") if name == "solo" else pool(name)))
    result = site.asks_whether_it_is_wanted.delay(file.path, "returns")
    file.await_lines(1)
    assert result.revoke() is False
    assert result.get(timeout=30) == "stopped in good order"
    result = site.asks_whether_it_is_wanted.delay(file.path, "raises")
    file.await_lines(3)
    assert result.revoke(wait=True, timeout=30) is False
    assert result.state == "REVOKED"
    with pytest.raises(TaskRevokedError):
        result.get()
    assert file.texts() == ["started", "aborted", "started", "aborted", "task_revoked"]


@pytest.mark.parametrize("name", ["asyncio", "processes", "threads"])
def test_a_coroutine_is_cancelled_and_may_clean_up(workers: Workers, file: Notes, name: str):
    workers.run(*pool(name))
    result = site.waits.delay(file.path)
    file.await_lines(1)
    result.revoke(wait=True, timeout=30)
    assert result.state == "REVOKED"
    assert file.texts() == ["started", "cleaned", "task_revoked"]
    assert notes.delay(file.path, "next").get(timeout=30) == 1


@pytest.mark.parametrize("name", ["processes", "threads", "asyncio"])
def test_terminating_ends_a_task_that_does_not_listen(workers: Workers, file: Notes, name: str):
    worker = workers.run(*pool(name))
    result = site.sleeps_soundly.delay(file.path)
    ((_, pid),) = file.await_lines(1)
    others = [notes.delay(file.path, "beside", 1.0) for _ in range(3)]
    result.revoke(terminate=True, wait=True, timeout=30)
    row = stored(result)
    assert (row.state, row.attempt, row.error["exc_type"]) == (State.CANCELLED, 1, "TaskRevokedError")
    assert [other.get(timeout=30) for other in others] == [1, 1, 1], worker.log
    assert pid not in [str(executor.pid) for executor in worker.executors()]


def test_an_os_signal_comes_first(workers: Workers, file: Notes):
    """One that the task takes for an order to clean up."""
    workers.run("-c", "1")
    result = site.cleans_up_on_sigusr2.delay(file.path)
    file.await_lines(1)
    result.revoke(terminate=True, signal="SIGUSR2", wait=True, timeout=30)
    assert file.texts()[:2] == ["started", "cleaned"]
    assert result.state in ("REVOKED", "SUCCESS")


def test_what_waits_inside_the_worker_does_not_start(workers: Workers, file: Notes, tmp_path: Path):
    workers.run("-c", "1")
    until = str(tmp_path / "go")
    # Short runs teach the worker to send many of these at once.
    taught = [notes.delay(file.path, "lesson") for _ in range(100)]
    eventually(all_finished(taught))
    first = notes.delay(file.path, "first", 0.0, until)
    eventually(lambda: "first" in file.texts())
    behind = notes.delay_many([((file.path, "behind"), {})] * 20)
    revoke([each.id for each in behind])
    assert {stored(each).state for each in behind} == {State.CANCELLED}
    Path(until).touch()
    assert first.get(timeout=30) == 1
    assert "behind" not in file.texts()


def test_it_happens_when_the_transaction_commits(workers: Workers, file: Notes):
    workers.run("-c", "1")
    result = site.asks_whether_it_is_wanted.delay(file.path, "raises")
    file.await_lines(1)
    with transaction.atomic():
        result.revoke()
        transaction.set_rollback(True)
    with transaction.atomic():
        result.revoke()
        assert file.texts() == ["started"]
    eventually(lambda: result.state == "REVOKED")


def test_a_cancellation_survives_the_end_of_the_worker(workers: Workers, file: Notes):
    worker = workers.run("-c", "1")
    result = notes.delay(file.path, "patient", 600)
    file.await_lines(1)
    worker.send(signal.SIGSTOP)
    result.revoke()
    worker.send(signal.SIGCONT)
    interrupt(worker)
    assert worker.wait() == 3
    workers.run("-c", "1")
    row = stored(result)
    assert (row.state, row.error["exc_type"]) == (State.CANCELLED, "TaskRevokedError")
    assert file.texts() == ["patient", "task_revoked"]
    assert not ReadyTask.objects.exists()


def test_a_worker_that_does_not_listen_finds_out_at_its_next_heartbeat(workers: Workers, file: Notes):
    workers.run("-c", "1", LISTEN=False)
    result = site.asks_whether_it_is_wanted.delay(file.path, "raises")
    file.await_lines(1)
    result.revoke(wait=True, timeout=30)
    assert result.state == "REVOKED"


def test_many_orders_in_a_row_are_all_heard(workers: Workers, file: Notes):
    workers.run("-P", "threads", "-c", "10")
    results = [site.asks_whether_it_is_wanted.delay(file.path, "raises") for _ in range(10)]
    file.await_lines(10)
    for result in results:
        result.revoke()
    assert {stored(result).state for result in results} == {State.CANCELLED}


def test_an_expired_task_tells_who_listens(workers: Workers, file: Notes):
    result = notes.apply_async((file.path, "late"), expires=0.01)
    eventually(ReadyTask.objects.filter(task__expires_at__lt=Now()).exists)
    workers.run("-c", "1")
    assert stored(result).state == State.CANCELLED
    assert file.lines() == [["task_revoked", "False", "None", "True"]]


def test_an_unknown_id_is_remembered_and_unknown_ids_trouble_nobody(workers: Workers, file: Notes):
    later = str(uuid.uuid4())
    AsyncResult(later).revoke(terminate=True)
    workers.run("-c", "1")
    assert notes.delay(file.path, "other").get(timeout=30) == 1
    assert stored(notes.apply_async((file.path, "later"), task_id=later)).state == State.CANCELLED


class TestStamps:
    @pytest.fixture
    def stamped(self, file: Notes) -> Callable[..., AsyncResult]:
        def call(sig: Signature | None = None, **stamps: object) -> AsyncResult:
            sig = sig or notes.s(file.path, "unwanted")
            sig.stamp(**stamps)
            return sig.apply_async()

        return call

    def test_what_waits_is_cancelled_wherever_it_stands(self, stamped: Callable[..., AsyncResult], file: Notes):
        whole = stamped(chain(notes.si(file.path, 1), notes.si(file.path, 2)), customer=7)
        several = stamped(customer=[6, 7])
        later = notes.s(file.path, 3).set(countdown=60)
        scheduled = stamped(later, customer=8)
        others = [stamped(customer=70), stamped(customer="7"), stamped(number=7), notes.delay(file.path, 4)]

        cancelled = revoke_by_stamped_headers({"customer": [7, 8], "region": "x"})

        assert cancelled == {whole.parent.id, whole.id, several.id, scheduled.id}
        assert {result.state for result in (whole, whole.parent, several, scheduled)} == {"REVOKED"}
        assert {result.state for result in others} == {"PENDING"}

    def test_a_result_asks_for_its_fellows(self, workers: Workers, stamped: Callable[..., AsyncResult], file: Notes):
        waits = site.asks_whether_it_is_wanted.s(file.path, "raises")
        running, fellow = stamped(waits, tenant="a"), stamped(notes.s(file.path, "never"), tenant="a")
        workers.run("-c", "1")
        file.await_lines(1)
        assert running.revoke_by_stamped_headers({"tenant": "a"}, wait=True, timeout=30) is False
        assert (running.state, stored(fellow).state) == ("REVOKED", State.CANCELLED)
        assert fellow.revoke_by_stamped_headers({"tenant": ["a"]}) is False

    @pytest.mark.parametrize("headers", [None, "customer", {}, {7: 8}, ["customer"]])
    def test_headers_that_name_nothing_are_refused(self, headers: object):
        with pytest.raises(TypeError, match="expected headers to map names of stamps to values, got: "):
            revoke_by_stamped_headers(headers)
