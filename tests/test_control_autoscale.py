"""Autoscaling: more executors while tasks wait in line, fewer when there is nothing to do, and none dropped."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from djqueue import control
from djqueue.models import Worker
from djqueue.worker import autoscale
from djqueue.worker.autoscale import Autoscaler
from djqueue.worker.memory import share_left

from .conftest import Session
from .site import control_tasks as site
from .site.tasks import noop
from .worker_process import Notes, Workers, all_finished, eventually, stored

IMPORTS = ["tests.site.tasks", "tests.site.control_tasks"]


def executors() -> int:
    return Worker.objects.get().processes


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
def test_a_pool_grows_with_its_backlog_and_shrinks_when_that_is_gone(
    workers: Workers, file: Notes, tmp_path: Path, pool: str
):
    size = () if pool == "processes" else ("-c", "2")
    worker = workers.run("-P", pool, *size, "--autoscale", "3,1", IMPORTS=IMPORTS, AUTOSCALE_KEEP=0.3)
    assert executors() == 1
    gate = tmp_path / "gate"
    held = [site.holds.delay(file.path, str(gate)) for _ in range(3 * (1 if pool == "processes" else 2))]

    file.await_lines(len(held))  # they all run at once
    eventually(lambda: executors() == 3)
    worker.wait_for_log("3 executors instead of 2, because the first in line has waited")

    gate.touch()
    eventually(all_finished(held))
    eventually(lambda: executors() == 1)
    eventually(lambda: len(worker.executors()) == 1)
    worker.wait_for_log("because one had nothing to do for")
    assert {stored(result).attempt for result in held} == {1}
    eventually(all_finished([noop.delay()]))


@pytest.mark.django_db(transaction=True)
def test_bounds_can_be_set_and_taken_back_while_it_runs(workers: Workers, file: Notes, tmp_path: Path):
    workers.run("-c", "1", IMPORTS=IMPORTS, AUTOSCALE_KEEP=600)
    assert control.autoscale(3, 2, reply=True, timeout=20) is not None
    eventually(lambda: executors() == 2)
    gate = tmp_path / "gate"
    held = [site.holds.delay(file.path, str(gate)) for _ in range(5)]
    eventually(lambda: executors() == 3)
    replies = control.autoscale(0, reply=True, timeout=20)
    assert replies is not None
    assert list(replies[0].values()) == [{"ok": "autoscale: off"}]
    assert executors() == 3
    gate.touch()
    eventually(all_finished(held))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--autoscale", "many"], "argument --autoscale: expected MAX,MIN, two whole numbers, got: 'many'"),
        (["--autoscale", "1,2,3"], "expected MAX,MIN"),
        (["--autoscale", "1,3"], "expected --autoscale to be MAX,MIN with 1 to 1024 executors"),
        (["--autoscale", "3,0"], "MIN at most MAX, got: 3,0"),
        (["--autoscale", "3,1", "-P", "solo"], "--pool solo cannot honour --autoscale (3,1)"),
        (["--autoscale", "3,1", "-c", "5"], "expected --concurrency to be 1 to 3 with --autoscale, got: 5"),
        (
            ["--autoscale", "3,2", "-P", "threads", "--processes", "1"],
            "expected --processes to be 2 to 3 with --autoscale, got: 1",
        ),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bounds_that_make_no_sense_are_refused(options: list[str], message: str):
    with pytest.raises(CommandError, match=re.escape(message)):
        call_command("runworker", *options)


class Bounds:
    """A scale with bounds of two to ten."""

    bounds = (2, 10)


@pytest.fixture
def autoscaler() -> Autoscaler:
    return Autoscaler("w", Bounds(), None, None, None)  # type: ignore[arg-type]


def test_the_age_of_the_line_is_told_by_the_numbers_that_were_drawn(autoscaler: Autoscaler):
    """Each look says how far the sequence was; the first in line is at least as old as the look that had reached it."""
    assert autoscaler._age(None, 10, now=100.0) == 0.0
    assert autoscaler._age(15, 20, now=101.0) == 0.0
    assert autoscaler._age(15, 30, now=102.0) == 1.0
    assert autoscaler._age(25, 30, now=103.0) == 1.0
    assert autoscaler._age(5, 30, now=104.0) == 4.0
    assert autoscaler._age(None, 30, now=105.0) == 0.0
    assert autoscaler._age(5, 30, now=1000.0) == 0.0  # what was is forgotten


@pytest.mark.parametrize(
    ("size", "age", "busy", "idle", "left", "wanted"),
    [
        (2, 0.5, True, 0, 1.0, 2),
        (2, 1.0, True, 0, 1.0, 3),
        (4, 9.0, True, 0, 1.0, 6),
        (9, 9.0, True, 0, 1.0, 10),
        (10, 9.0, True, 0, 1.0, 10),
        (4, 9.0, False, 0, 1.0, 4),  # what waits may not start: a limit, or it comes just now
        (4, 9.0, True, 0, 0.09, 4),
        (4, 9.0, True, 0, 0.04, 3),
        (2, 0.0, False, 0, 0.04, 2),
        (4, 0.0, False, 29, 1.0, 4),
        (4, 0.0, False, 30, 1.0, 3),
        (2, 0.0, False, 300, 1.0, 2),
        (4, 2.0, False, 300, 1.0, 4),
    ],
)
def test_it_grows_by_half_and_shrinks_by_one(
    autoscaler: Autoscaler,
    monkeypatch: pytest.MonkeyPatch,
    size: int,
    age: float,
    busy: bool,
    idle: float,
    left: float,
    wanted: int,
):
    monkeypatch.setattr(autoscale, "share_left", lambda: left)
    autoscaler._busy_at = 1000.0 - idle
    assert autoscaler._wanted(size, age, busy, now=1000.0)[0] == wanted


def test_the_backlog_is_the_lowest_number_of_the_lanes_that_are_served(session: Session):
    from djqueue.records import Lane
    from djqueue.store.looks import backlog

    first, last = session(backlog, [Lane("default", 0)])
    assert first is None
    for queue in ("other", "default", "default"):
        noop.apply_async(queue=queue)
    first, last = session(backlog, [Lane("default", 0)])
    assert (first, last) == (last - 1, last)
    assert session(backlog, [Lane("default", 0), Lane("other", 0)]) == (last - 2, last)
    assert session(backlog, [Lane("default", 0, floor=last)]) == (last, last)
    assert session(backlog, []) == (None, last)


def test_memory_is_that_of_the_container_if_it_has_less(tmp_path: Path):
    meminfo, cgroup = tmp_path / "meminfo", tmp_path / "cgroup"
    assert share_left(meminfo, cgroup) == 1.0
    meminfo.write_text("MemTotal:       1000 kB\nMemFree:  1 kB\nMemAvailable:    400 kB\n")
    assert share_left(meminfo, cgroup) == 0.4
    cgroup.mkdir()
    (cgroup / "memory.max").write_text("max\n")
    (cgroup / "memory.current").write_text("900\n")
    (cgroup / "memory.stat").write_text("anon 500\ninactive_file 100\n")
    assert share_left(meminfo, cgroup) == 0.4
    (cgroup / "memory.max").write_text("1000\n")
    assert share_left(meminfo, cgroup) == pytest.approx(0.2)
    assert 0.0 < share_left() <= 1.0
