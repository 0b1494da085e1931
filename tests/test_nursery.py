"""What is forked for tests says how it ended, and ends with who asked for it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from .nursery import PROJECT_DIR, Forked
from .worker_process import NURSERY, eventually

GIVEN = {"database": {"ENGINE": "django.db.backends.dummy"}, "databases": {}, "djqueue": {"LEASE": 77}}
HOLDER = f"""
import sys
from tests.nursery import Nursery
print(Nursery().fork(["shell", "-c", "import time; time.sleep(60)"], {GIVEN!r}, 2).pid)
"""


def run(code: str, output: Path) -> Forked:
    with output.open("w") as file:
        return NURSERY.fork(["shell", "-c", code], GIVEN, file.fileno())


@pytest.mark.parametrize(
    ("code", "ended"),
    [
        ("pass", 0),
        ("import sys; sys.exit(7)", 7),
        ("1 / 0", 1),
        ("import os; os.kill(os.getpid(), 15)", -signal.SIGTERM),
    ],
)
def test_it_ends_as_a_program_does(tmp_path: Path, code: str, ended: int) -> None:
    forked = run(code, tmp_path / "log")
    assert forked.wait(30) == forked.poll() == ended
    assert ("ZeroDivisionError" in (tmp_path / "log").read_text()) is (code == "1 / 0")


def test_it_has_settings_and_a_session_of_its_own(tmp_path: Path) -> None:
    ask = "import os; from djqueue.conf import settings; print(settings.LEASE, os.getpid() == os.getsid(0))"
    assert run(ask, tmp_path / "log").wait(30) == 0
    assert (tmp_path / "log").read_text().splitlines()[-1] == "77.0 True"


def test_who_waits_too_short_is_told(tmp_path: Path) -> None:
    forked = run("import time; time.sleep(60)", tmp_path / "log")
    assert forked.poll() is None
    with pytest.raises(subprocess.TimeoutExpired):
        forked.wait(0.01)
    forked.kill()
    assert forked.wait(30) == -signal.SIGKILL


def test_it_ends_with_who_asked_for_it() -> None:
    done = subprocess.run(
        [sys.executable, "-c", HOLDER], cwd=PROJECT_DIR, env=os.environ, capture_output=True, text=True, check=True
    )
    eventually(lambda: not psutil.pid_exists(int(done.stdout)), what="its end")
