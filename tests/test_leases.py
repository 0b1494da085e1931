"""A worker without a lease claims nothing, whatever kept it from renewing it."""

from __future__ import annotations

import asyncio
import time
from datetime import timedelta

import psycopg
import pytest
from django.db import connection, transaction

from djqueue.models import RunningTask, Worker
from djqueue.store.reclaim import reclaim

from .conftest import conninfo
from .site.worker_tasks import cleans_up, does_not_listen, notes
from .worker_process import (
    Notes,
    Workers,
    all_finished,
    attempts_in_line,
    database_settings,
    eventually,
    interrupt,
    is_alive,
    stored,
)


def names_of(results: list) -> set[str]:
    return {stored(result).worker.partition("@")[0] for result in results}


def test_a_worker_whose_heartbeat_waits_claims_nothing_after_its_lease_and_goes_on_with_the_next(
    workers: Workers, file: Notes
) -> None:
    first = workers.run("-c", "1", "-n", "first", LEASE=2)
    assert names_of([notes.delay(file.path, "before")]) == {"first"}
    executors = first.executors()
    heir = workers.run("-c", "1", "-n", "heir", LEASE=2)
    with transaction.atomic():
        # The heartbeat waits for this lock, while the connection that claims is free.
        held = Worker.objects.select_for_update().get(name__startswith="first")
        eventually(lambda: not any(map(is_alive, executors)), what="the watchdog")
        assert time.time() < held.lease_until.timestamp() + 3
        with psycopg.connect(conninfo(), autocommit=True) as other:
            ids = [str(other_id) for other_id in enqueue_elsewhere(other, file, 20)]
            eventually(lambda: finished_by(other, ids) == {"heir": 20})

    heir.send(15)
    assert heir.wait() == 0
    assert names_of([notes.delay(file.path, "afterwards")]) == {"first"}


def enqueue_elsewhere(session: psycopg.Connection, file: Notes, number: int) -> list[str]:
    """Enqueue outside of the test's open transaction."""
    with session.transaction():
        rows = session.execute(
            "INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs)"
            " SELECT gen_random_uuid(), %s, 'default', 0, jsonb_build_array(%s::text, 'meanwhile', 0.02), '{}'"
            " FROM generate_series(1, %s) RETURNING id",
            (notes.name, file.path, number),
        ).fetchall()
        session.execute(
            "INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)"
            " SELECT 'default', 0, id, 0 FROM unnest(%s::uuid[]) AS id",
            ([row[0] for row in rows],),
        )
    return [row[0] for row in rows]


def finished_by(session: psycopg.Connection, ids: list[str]) -> dict[str, int]:
    rows = session.execute(
        "SELECT split_part(worker, '@', 1), count(*) FROM djqueue_taskresult"
        " WHERE task_id = ANY (%s::uuid[]) GROUP BY 1",
        (ids,),
    )
    return dict(rows.fetchall())


def test_a_worker_keeps_its_lease_and_works_while_what_it_listens_on_is_away(workers: Workers, file: Notes) -> None:
    nowhere = {**database_settings(), "HOST": "127.0.0.1", "PORT": "1"}
    worker = workers.run("-c", "1", databases={"direct": nowhere}, LISTEN="direct", LEASE=2)
    (row,) = Worker.objects.all()

    eventually(Worker.objects.filter(heartbeat_at__gt=row.heartbeat_at + timedelta(seconds=3)).exists)

    assert stored(notes.delay(file.path, "found by polling"))
    assert Worker.objects.get().pk == row.pk
    assert "lost its lease" not in worker.log
    assert worker.log.count("listen ") == 1


def test_a_worker_listens_on_another_alias(workers: Workers, file: Notes) -> None:
    workers.run("-c", "1", databases={"direct": database_settings()}, LISTEN="direct", POLL_MAX=30)
    eventually(lambda: backends("djqueue listen%") == 1)
    assert backends("djqueue upkeep%") == 1
    # The first polls come quickly; from then on only a wake-up explains a quick start.
    eventually(lambda: polls_in(0.5) == 0)

    began = time.monotonic()
    assert stored(notes.delay(file.path, "woken"))
    assert time.monotonic() - began < 25


def backends(application: str) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND application_name LIKE %s",
            (application,),
        )
        return cursor.fetchone()[0]


def polls_in(seconds: float) -> int:
    """Return how many statements the connection that claims begins in a while."""
    starts = set()
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        with connection.cursor() as cursor:
            cursor.execute(
                "SELECT query_start FROM pg_stat_activity"
                " WHERE datname = current_database() AND application_name LIKE 'djqueue worker%'"
            )
            starts.update(cursor.fetchall())
        time.sleep(0.02)
    return len(starts) - 1


async def give_up_expired() -> None:
    async with await psycopg.AsyncConnection.connect(conninfo(), autocommit=True) as session:
        await reclaim(session, 3)


def lose_lease() -> None:
    """Have the only worker given up, as if it had not renewed its lease."""
    with connection.cursor() as cursor:
        cursor.execute("UPDATE djqueue_worker SET lease_until = '2020-01-01'")
    asyncio.run(give_up_expired())


@pytest.mark.parametrize("pool", ["processes", "solo"])
def test_a_worker_that_was_given_up_aborts_its_task_and_begins_again(workers: Workers, file: Notes, pool: str) -> None:
    worker = workers.run("-c", "1", "--pool", pool, HEARTBEAT=1)
    result = cleans_up.delay(file.path, 5)
    file.await_lines(1)
    (row,) = Worker.objects.all()

    eventually(lambda: lose_lease() or not Worker.objects.filter(pk=row.pk).exists())

    worker.wait_for_log("lost its lease and aborts 1 tasks")
    assert stored(result).attempt == 2
    assert stored(notes.delay(file.path, "afterwards")).attempt == 1
    assert worker.process.poll() is None
    if pool == "solo":
        assert file.texts().count("cleaned") == 2
    worker.send(15)
    assert worker.wait() == 0


def test_a_solo_worker_leaves_behind_a_task_that_does_not_heed_its_interruption(workers: Workers, file: Notes) -> None:
    worker = workers.run("--pool", "solo")
    result = does_not_listen.delay(file.path, 60)
    file.await_lines(1)

    interrupt(worker)

    assert worker.wait() == 3
    assert attempts_in_line() == {result.id: 0}
    assert not RunningTask.objects.exists()
    assert not all_finished([result])()
