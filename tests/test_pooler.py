"""Behind PgBouncer in transaction mode: each statement may meet another session."""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connections

from djqueue import chain, chord, group
from djqueue.models import Task
from djqueue.results import AsyncResult
from djqueue.worker.link import PREPARE_AFTER, Link

from .pooler import PGBOUNCER, pooled_database
from .site.canvas_tasks import add, tsum
from .site.worker_tasks import notes
from .worker_process import Notes, Workers, all_finished, database_settings, eventually

pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(PGBOUNCER is None, reason="needs PgBouncer (Debian: apt install pgbouncer)"),
]

ALIAS = "pooled"
MODULES = ["tests.site.worker_tasks", "tests.site.canvas_tasks"]


@pytest.fixture
def pooled(transactional_db: None) -> Iterator[dict[str, Any]]:
    with pooled_database() as database:
        connections.databases[ALIAS] = connections.configure_settings({"default": {}, ALIAS: database})[ALIAS]
        try:
            yield database
        finally:
            connections[ALIAS].close()
            del connections[ALIAS], connections.databases[ALIAS]


async def prepares_after(alias: str) -> int | None:
    link = Link(alias, "test")
    try:
        return (await link.connection()).prepare_threshold
    finally:
        await link.close()


def test_statements_are_prepared_on_direct_connections_only(pooled: dict[str, Any]) -> None:
    assert asyncio.run(prepares_after("default")) == PREPARE_AFTER
    assert asyncio.run(prepares_after(ALIAS)) is None


@pytest.mark.parametrize("listen", [False, "direct"])
def test_workers_behind_a_pooler_lose_nothing(
    pooled: dict[str, Any], workers: Workers, file: Notes, listen: bool | str
) -> None:
    """Two of them share five sessions, one of them is killed."""
    direct = {"direct": database_settings()}
    tasks = [notes.delay(file.path, number) for number in range(200)]
    steps = chain(add.s(1, 1), *(add.s(1) for _ in range(20))).apply_async()
    body = chord(group(add.s(number, 1) for number in range(20)))(tsum.s())
    later = add.apply_async((2, 2), countdown=0.5)
    first, _ = (
        workers.run("-c", "1", database=pooled, databases=direct, LISTEN=listen, IMPORTS=MODULES) for _ in range(2)
    )
    file.await_lines(20)
    first.send(signal.SIGKILL)
    everything: list[AsyncResult] = [*tasks, steps, body, later]
    eventually(all_finished(everything), what="results")
    assert (steps.get(), body.get(), later.get()) == (22, 210, 4)
    assert Task.objects.filter(result__state=5).count() == Task.objects.count()
