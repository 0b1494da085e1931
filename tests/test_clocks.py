"""A worker on a machine whose clock is wrong: what counts is the database's clock, and the monotonic one."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pytest
from django.db import connection
from django.utils import timezone

from djqueue.models import Worker

from .site.tasks import noop
from .site.worker_tasks import notes
from .worker_process import Notes, WorkerProcess, Workers, eventually, stored

LIBRARY = next(iter(Path("/usr/lib").glob("*/faketime/libfaketimeMT.so.1")), None)
pytestmark = [
    pytest.mark.django_db(transaction=True),
    pytest.mark.skipif(LIBRARY is None, reason="needs libfaketime (Debian: apt install libfaketime)"),
]


class WrongClock:
    """The wall clock of a worker, shifted by seconds; its monotonic clock goes on as it is."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.shift(0)

    def shift(self, seconds: float) -> None:
        written = self.path.with_suffix(".new")
        written.write_text(f"{seconds:+f}")
        os.replace(written, self.path)

    def worker(self, workers: Workers, *options: str, **settings: object) -> WorkerProcess:
        environment = {
            "LD_PRELOAD": str(LIBRARY),
            "FAKETIME_TIMESTAMP_FILE": str(self.path),
            "FAKETIME_NO_CACHE": "1",
            "FAKETIME_DONT_FAKE_MONOTONIC": "1",
        }
        return workers.run(*options, environment=environment, **settings)


@pytest.fixture
def clock(tmp_path: Path) -> WrongClock:
    return WrongClock(tmp_path / "faketime")


@pytest.mark.parametrize("hours", [-7, 7])
def test_a_wrong_clock_shifts_no_date_and_ends_no_lease(workers: Workers, clock: WrongClock, file: Notes, hours: int):
    clock.shift(hours * 3600)
    worker = clock.worker(workers, "-c", "1", LEASE=2)
    began = timezone.now()
    soon = notes.apply_async((file.path, "soon"), countdown=0.5)
    later = notes.apply_async((file.path, "later"), countdown=3600)
    expiring = notes.apply_async((file.path, "expiring"), expires=3600)
    row = stored(soon)
    assert began - timedelta(seconds=1) < row.started_at <= row.finished_at < timezone.now() + timedelta(seconds=1)
    assert stored(expiring).state == row.state
    (registered,) = Worker.objects.all()
    eventually(Worker.objects.filter(heartbeat_at__gt=registered.heartbeat_at + timedelta(seconds=3)).exists)
    assert Worker.objects.get().pk == registered.pk
    assert later.state == "PENDING"
    assert "lost its lease" not in worker.log


def test_a_clock_that_jumps_stops_nothing(workers: Workers, clock: WrongClock, file: Notes):
    worker = clock.worker(workers, "-c", "1", LEASE=2)
    (registered,) = Worker.objects.all()
    for seconds in (3600, -3600, 86400 * 365, -86400 * 365, 0):
        clock.shift(seconds)
        due = notes.apply_async((file.path, "due"), countdown=0.2, expires=60)
        row = stored(due)
        assert abs(row.finished_at - timezone.now()) < timedelta(seconds=20)
        assert noop.delay().get(timeout=30) is None
        heartbeat = Worker.objects.get().heartbeat_at
        eventually(Worker.objects.filter(heartbeat_at__gt=heartbeat).exists)
    assert len(file.lines()) == 5
    assert Worker.objects.get().pk == registered.pk
    assert "lost its lease" not in worker.log


def test_the_wrong_clock_is_really_wrong(clock: WrongClock):
    """Else the tests above would prove nothing."""
    clock.shift(86400 * 365)
    environment = {"LD_PRELOAD": str(LIBRARY), "FAKETIME_TIMESTAMP_FILE": str(clock.path), "FAKETIME_NO_CACHE": "1"}
    ask = "import time; print(time.time())"
    told = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    with connection.cursor() as cursor:
        cursor.execute("SELECT extract(epoch FROM clock_timestamp())::float8")
        assert float(told.stdout) - cursor.fetchone()[0] > 86400 * 300
