"""The database goes away and comes back: outcomes wait for it, claims are not lost, and workers can be stopped."""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import Iterator

import psycopg
import pytest
from django.db import connection, connections
from django.test import override_settings

from djqueue.models import ReadyTask, TaskAttempt, TaskResult, Worker
from djqueue.records import Lane
from djqueue.store.claim import claim

from .conftest import conninfo
from .many_tasks import assert_none_lost, enqueue_many, runs_beyond_the_first
from .private_server import ALIAS, PrivateServer, private_database
from .site.worker_tasks import counts_marks, notes
from .worker_process import (
    Notes,
    Workers,
    all_finished,
    eventually,
    is_alive,
    running_workers,
    stored,
)


def worker_backends(database_alias: str = "default") -> list[int]:
    with connections[database_alias].cursor() as cursor:
        cursor.execute(
            "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE 'djqueue %'"
        )
        return [pid for (pid,) in cursor.fetchall()]


def terminate(pids: list[int]) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_terminate_backend(pid) FROM unnest(%s::int[]) AS pid", (pids,))


def test_no_task_is_lost_when_the_workers_connections_are_terminated_in_the_middle_of_many(
    workers: Workers, file: Notes
) -> None:
    worker = workers.run("-c", "2")
    results = enqueue_many(file)

    for reached in (200, 600, 1000):
        file.await_lines(reached)
        backends = eventually(lambda: len(found := worker_backends()) == 2 and found)
        terminate(backends)

    assert_none_lost(file, results)
    assert runs_beyond_the_first(file) == 0
    worker.wait_for_log("the database is back")
    assert not TaskAttempt.objects.exists()


def test_a_worker_waits_while_the_database_is_read_only_as_a_standby_is(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1", LEASE=30)
    result = notes.delay(file.path, "during", 0.3)
    file.await_lines(1)
    name = connection.ops.quote_name(connection.settings_dict["NAME"])
    try:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} SET default_transaction_read_only = on")
        terminate(worker_backends())
        worker.wait_for_log("in a read-only transaction")
    finally:
        with connection.cursor() as cursor:
            cursor.execute(f"ALTER DATABASE {name} RESET default_transaction_read_only")
    terminate(worker_backends())

    assert stored(result).attempt == 1
    assert file.texts() == ["during"]
    assert worker.log.count("read-only") < 20


def test_claims_whose_answer_was_lost_with_the_connection_are_given_back(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    (row,) = Worker.objects.all()
    worker.send(signal.SIGSTOP)
    results = enqueue_many(file, 20, 0)

    async def claim_and_lose_the_answer() -> int:
        async with await psycopg.AsyncConnection.connect(conninfo(), autocommit=True) as session:
            return len(await claim(session, row.id, [Lane("default", 0)], 20))

    assert asyncio.run(claim_and_lose_the_answer()) == 20
    assert not ReadyTask.objects.exists()
    terminate(worker_backends())
    worker.send(signal.SIGCONT)

    assert_none_lost(file, results)
    assert set(TaskResult.objects.values_list("attempt", flat=True)) == {1}
    assert runs_beyond_the_first(file) == 0


@pytest.fixture(scope="module")
def own_server(django_db_setup: None, django_db_blocker: object) -> Iterator[PrivateServer]:
    with django_db_blocker.unblock(), private_database() as server:
        yield server


@pytest.fixture
def server(own_server: PrivateServer, django_db_blocker: object, settings: object) -> Iterator[PrivateServer]:
    with django_db_blocker.unblock(), override_settings(DJQUEUE={**settings.DJQUEUE, "DATABASE": ALIAS}):
        yield own_server
        connections[ALIAS].close()
        with connections[ALIAS].cursor() as cursor:
            cursor.execute(
                "TRUNCATE djqueue_task, djqueue_readytask, djqueue_scheduledtask, djqueue_runningtask,"
                " djqueue_taskresult, djqueue_taskattempt, djqueue_worker"
            )


@pytest.fixture
def own_workers(server: PrivateServer) -> Iterator[Workers]:
    with running_workers(server.database, ALIAS) as workers:
        yield workers


@pytest.mark.parametrize("crash", [signal.SIGKILL, signal.SIGQUIT], ids=["kill -9", "immediate stop"])
def test_no_task_is_lost_when_postgresql_crashes_in_the_middle_of_many(
    own_workers: Workers, server: PrivateServer, file: Notes, crash: signal.Signals
) -> None:
    worker = own_workers.run("-c", "2", LEASE=30)
    executors = worker.executors()
    results = enqueue_many(file)
    file.await_lines(300)

    server.stop(crash)
    worker.wait_for_log("the database does not answer")
    restart(server)

    assert_none_lost(file, results, ALIAS)
    worker.wait_for_log("the database is back")
    assert worker.executors() == executors
    assert not TaskAttempt.objects.using(ALIAS).exists()


def test_a_busy_worker_resumes_after_a_restart_of_postgresql_and_settles_what_it_finished_meanwhile(
    own_workers: Workers, server: PrivateServer, file: Notes
) -> None:
    worker = own_workers.run("-c", "2", LEASE=30)
    during = notes.delay(file.path, "during", 0.5)
    file.await_lines(1)

    server.stop(signal.SIGINT)
    worker.wait_for_log("the database does not answer")
    restart(server)

    assert stored(during, ALIAS).attempt == 1
    assert file.texts() == ["during"]


def test_an_idle_worker_resumes_after_a_restart_of_postgresql(
    own_workers: Workers, server: PrivateServer, file: Notes
) -> None:
    worker = own_workers.run("-c", "1")

    server.stop(signal.SIGINT)
    worker.wait_for_log("the database does not answer")
    restart(server)

    assert stored(notes.delay(file.path, "afterwards"), ALIAS).attempt == 1
    worker.send(signal.SIGTERM)
    assert worker.wait() == 0


def test_a_worker_drains_while_the_database_is_away(own_workers: Workers, server: PrivateServer, file: Notes) -> None:
    worker = own_workers.run("-c", "1", LEASE=30)
    result = notes.delay(file.path, "during", 0.2)
    file.await_lines(1)
    server.stop(signal.SIGINT)
    worker.wait_for_log("the database does not answer")

    worker.send(signal.SIGTERM)
    worker.wait_for_log("drain")
    restart(server)

    assert worker.wait() == 0
    assert stored(result, ALIAS).attempt == 1


def test_executors_die_before_their_lease_ends_when_the_database_stays_away(
    own_workers: Workers, server: PrivateServer, file: Notes
) -> None:
    worker = own_workers.run("-c", "1", LEASE=2)
    (executor,) = worker.executors()
    result = notes.delay(file.path, "during", 4)
    file.await_lines(1)

    server.stop(signal.SIGINT)
    eventually(lambda: not is_alive(executor), what="the watchdog")
    connections[ALIAS].close()
    server.start()

    # It ran twice, but the first time was ended by us.
    assert stored(result, ALIAS).attempt == 1
    assert len(file.lines()) == 2
    assert not TaskAttempt.objects.using(ALIAS).exists()


def test_an_idle_worker_heeds_a_signal_while_the_database_is_away(own_workers: Workers, server: PrivateServer) -> None:
    worker = own_workers.run("-c", "1", LEASE=30)
    server.stop(signal.SIGINT)
    worker.wait_for_log("the database does not answer")

    worker.send(signal.SIGTERM)

    try:
        assert worker.wait() == 0
    finally:
        restart(server)


@pytest.mark.parametrize("how", ["second signal", "drain timeout"])
def test_a_worker_that_cannot_store_an_outcome_gives_up_when_asked_to(
    own_workers: Workers, server: PrivateServer, file: Notes, how: str
) -> None:
    options = ["--drain-timeout", "0.5"] if how == "drain timeout" else []
    worker = own_workers.run("-c", "1", *options, LEASE=5)
    result = notes.delay(file.path, "during", 0.2)
    file.await_lines(1)
    server.stop(signal.SIGINT)
    worker.wait_for_log("the database does not answer")

    try:
        worker.send(signal.SIGTERM)
        worker.wait_for_log("drain")
        if how == "second signal":
            worker.send(signal.SIGTERM)
        assert worker.wait() == 3
    finally:
        restart(server)

    assert "gives up waiting for the database; the 1 tasks it holds come back" in worker.log
    assert not worker.survivors()
    heir = own_workers.run("-c", "1", LEASE=5)
    assert stored(result, ALIAS).worker.partition("@")[0] == f"worker-{heir.pid}"


def test_tasks_are_found_although_a_failover_took_sequence_numbers_back(workers: Workers, file: Notes) -> None:
    worker = workers.run("-c", "1")
    began = time.monotonic()
    while time.monotonic() - began < 2.5:  # the line's floor rises once a second
        eventually(all_finished(enqueue_many(file, 20, 0)))
    with connection.cursor() as cursor:
        cursor.execute("SELECT setval(pg_get_serial_sequence('djqueue_readytask', 'seq'), 1)")
    terminate(worker_backends())
    worker.wait_for_log("the database is back")

    assert stored(notes.delay(file.path, "afterwards"))


def test_a_coroutine_gets_a_new_connection_when_its_last_one_was_ended(workers: Workers) -> None:
    worker = workers.run("-c", "1")
    assert counts_marks.delay().get(timeout=30) == 0
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FILTER (WHERE pg_terminate_backend(pid)) FROM pg_stat_activity"
            " WHERE pid <> pg_backend_pid() AND datname = current_database() AND application_name NOT LIKE 'djqueue %'"
        )
        assert cursor.fetchone() == (1,)

    assert counts_marks.delay().get(timeout=30) == 0, worker.log


def restart(server: PrivateServer) -> None:
    connections[ALIAS].close()
    server.start()
