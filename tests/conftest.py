"""What all tests share: connections as workers have them, driven from plain functions."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg
import pytest
from django.contrib.auth.models import Permission, User
from django.core.management import call_command
from django.db import connection as django_connection
from django.test import Client

from djqueue.doctor import check_invariants
from djqueue.records import Lane
from djqueue.store.workers import WorkerRow, register

from .browsing import browser, site, visit  # noqa: F401 - fixtures
from .worker_process import Kept, KeptWorker, Notes, Workers, running_workers

DEFAULT = Lane("default", 0)
LONGEST_VERB = 60.0
"""Seconds after which a verb that finds no end fails its test."""

PLACES = """
SELECT task_id::text, 'ready' FROM djqueue_readytask
UNION ALL SELECT task_id::text, 'scheduled' FROM djqueue_scheduledtask
UNION ALL SELECT task_id::text, 'running' FROM djqueue_runningtask
UNION ALL SELECT task_id::text, 'waiting' FROM djqueue_waitingtask
UNION ALL SELECT task_id::text, 'parked' FROM djqueue_parkedtask
UNION ALL SELECT task_id::text, CASE state WHEN 5 THEN 'succeeded' WHEN 6 THEN 'failed' ELSE 'cancelled' END
    FROM djqueue_taskresult
"""

BLOCKED = """
SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock' AND datname = current_database()
"""


def conninfo() -> str:
    """How to reach the test database. A lock that does not come is an error, not a test that hangs."""
    known = ("host", "port", "user", "password", "dbname", "sslmode")
    given = django_connection.get_connection_params()
    found = {name: given[name] for name in known if given.get(name)}
    return psycopg.conninfo.make_conninfo(**found, options="-c lock_timeout=20s")


class Session:
    """A connection in autocommit, as a worker has it: ``session(verb, ...)`` runs a verb of the store on it."""

    def __init__(self, runner: asyncio.Runner) -> None:
        self.runner = runner
        self.connection = runner.run(
            psycopg.AsyncConnection.connect(conninfo(), autocommit=True, prepare_threshold=None)
        )

    def __call__(self, verb: Callable[..., Coroutine[Any, Any, Any]], *args: Any, **kwargs: Any) -> Any:
        return self.runner.run(asyncio.wait_for(verb(self.connection, *args, **kwargs), LONGEST_VERB))

    def sql(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        """Run a statement and return its rows, if it has any."""
        return self.runner.run(self._sql(query, parameters))

    async def _sql(self, query: str, parameters: tuple[Any, ...]) -> list[tuple[Any, ...]]:
        cursor = await self.connection.execute(query, parameters or None)
        return await cursor.fetchall() if cursor.description else []

    def value(self, query: str, *parameters: Any) -> Any:
        """Return the only column of the only row."""
        ((value,),) = self.sql(query, *parameters)
        return value

    def places(self) -> dict[str, str]:
        """Return where each task stands, by its id."""
        return dict(self.sql(PLACES))

    def new_worker(self, name: str = "worker", lease: float = 3600) -> int:
        """Register a worker and return its id. A negative lease has run out already."""
        return self(register, WorkerRow(name, "host", 1, "*", "processes", 2, "0", lease))

    def close(self) -> None:
        self.runner.run(self.connection.close())


@pytest.fixture
def runner() -> Iterator[asyncio.Runner]:
    with asyncio.Runner() as runner:
        yield runner


@pytest.fixture
def connect(transactional_db: None, runner: asyncio.Runner) -> Iterator[Callable[[], Session]]:
    """Open sessions; in the end they are closed, and every task must stand in exactly one place."""
    opened: list[Session] = []

    def open_session() -> Session:
        opened.append(Session(runner))
        return opened[-1]

    yield open_session
    for session in opened:
        session.close()
    assert check_invariants() == []


@pytest.fixture
def session(connect: Callable[[], Session]) -> Session:
    return connect()


@pytest.fixture
def worker(session: Session) -> int:
    """The id of a worker whose lease will not run out."""
    return session.new_worker()


@pytest.fixture
def in_thread() -> Iterator[Callable[..., Any]]:
    """Start calls in threads of their own and return their futures; Django's connections there are closed."""
    from django.db import connections

    def call(function: Callable[..., Any], *args: Any) -> Any:
        try:
            return function(*args)
        finally:
            connections.close_all()

    with ThreadPoolExecutor() as threads:
        yield lambda function, *args: threads.submit(call, function, *args)


@pytest.fixture
def workers(transactional_db: None) -> Iterator[Workers]:
    with running_workers() as workers:
        yield workers


@pytest.fixture(scope="class")
def lasting_workers(django_db_setup: None, django_db_blocker: Any) -> Iterator[Workers]:
    """For tests of a class that share a worker: the database stays as it is between them, as long as they clean up."""
    with django_db_blocker.unblock():
        try:
            with running_workers() as workers:
                yield workers
        finally:
            call_command("flush", interactive=False, verbosity=0)
            django_connection.close()


KEPT = KeptWorker()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """End the kept worker before a test that commits tasks and does not count on it."""
    names = getattr(item, "fixturenames", ())
    marker = item.get_closest_marker("django_db")
    commits = {"transactional_db", "lasting_workers"}.intersection(names) or (
        marker is not None and marker.kwargs.get("transaction")
    )
    if commits and "kept" not in names:
        KEPT.retire()


def pytest_collection_finish(session: pytest.Session) -> None:
    """Spare the collector of garbage thousands of tests, which stay to the end."""
    gc.collect()
    gc.freeze()


@pytest.fixture(scope="session")
def kept_worker(django_db_setup: None) -> Iterator[KeptWorker]:
    """Ended before the database is."""
    yield KEPT
    KEPT.retire()


@pytest.fixture
def kept(transactional_db: None, kept_worker: KeptWorker) -> Iterator[Kept]:
    """Get a worker that is there already if the last test wanted the same: ``kept("-c", "1", LEASE=5)``.

    For tests that do nothing to the worker but enqueue tasks which end.
    """
    yield kept_worker.run
    kept_worker.after_test()


@pytest.fixture
def staff() -> Callable[..., Client]:
    """Log in a member of the staff with these permissions."""

    def log_in(*permissions: str) -> Client:
        user = User.objects.create_user(f"staff-{uuid4()}", is_staff=True)
        user.user_permissions.set(Permission.objects.filter(codename__in=permissions))
        client = Client()
        client.force_login(user)
        return client

    return log_in


@pytest.fixture
def viewer(staff: Callable[..., Client]) -> Callable[..., Client]:
    """Log in a member of the staff who may view the named models."""
    return lambda *models: staff(*(f"view_{model}" for model in models))


@pytest.fixture
def file(tmp_path: Path) -> Notes:
    return Notes(tmp_path / "notes")


async def until_blocked(observer: psycopg.AsyncConnection, number: int = 1) -> None:
    """Wait until so many other connections to this database wait for a lock."""
    for _ in range(1000):
        row = await (await observer.execute(BLOCKED)).fetchone()
        if row and row[0] >= number:
            return
        await asyncio.sleep(0.005)
    raise AssertionError(f"expected {number} connections to wait for a lock, got: {row}")
