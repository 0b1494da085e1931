"""What the README promises a newcomer, in a clean clone: its commands exist, and the demonstration works."""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlencode
from urllib.request import HTTPCookieProcessor, Request, build_opener

import psutil
import pytest

from .worker_process import eventually

PROJECT = Path(__file__).resolve().parent.parent
LONGEST = 120.0
"""Seconds that a demonstration of a few files may take on a busy machine."""


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What is committed, and nothing that lies around beside it."""
    directory = tmp_path_factory.mktemp("clean") / "clone"
    if shutil.which("git") and (PROJECT / ".git").exists():
        subprocess.run(["git", "clone", "--quiet", str(PROJECT), str(directory)], check=True)
    else:
        shutil.copytree(PROJECT, directory, ignore=shutil.ignore_patterns(".*", "__pycache__"))
    return directory


@pytest.fixture(scope="module")
def environment(clone: Path) -> dict[str, str]:
    """No database is configured, and what the embedded one needs goes away with the test."""
    temporary = clone.parent / "tmp"
    temporary.mkdir()
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("DATABASE_URL", "DJANGO_"))}
    return {**kept, "TMPDIR": str(temporary)}


@pytest.fixture
def left_behind(clone: Path) -> Iterator[None]:
    """Nothing that was started in the clone outlives a test."""
    yield
    for process in psutil.process_iter(["cmdline"]):
        if str(clone) in " ".join(process.info["cmdline"] or ()):
            process.kill()


def demo(clone: Path, environment: dict[str, str], *options: str) -> subprocess.Popen[str]:
    command = [sys.executable, str(clone / "manage.py"), "demo", "--limit", "40", *options]
    return subprocess.Popen(command, cwd=clone, env=environment, text=True, stdout=-1, stderr=-1)


def test_the_demo_indexes_files_and_ends_by_itself(clone, environment, left_behind) -> None:
    process = demo(clone, environment)
    out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    assert re.search(r"files +40\b", out)
    assert re.search(r"failed +0 +tasks", out)
    assert "tasks per second" in out
    assert "wait in the queue" in out
    assert re.search(r"summarise got +40 +results", out)
    assert re.search(r"manage.py djqueue graph [0-9a-f-]{36} --svg", out)


def test_it_works_again_after_it_was_killed(clone, environment, left_behind) -> None:
    killed = demo(clone, environment)
    assert killed.stderr is not None
    eventually(lambda: bool(psutil.Process(killed.pid).children()), LONGEST)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=LONGEST)

    process = demo(clone, environment)
    out, err = process.communicate(timeout=LONGEST)
    assert process.returncode == 0, err
    assert re.search(r"failed +0 +tasks", out)


def test_the_site_serves_the_admin_beside_a_worker_until_it_is_interrupted(clone, environment, left_behind) -> None:
    command = [sys.executable, "-u", str(clone / "manage.py"), "demo_site"]
    site = subprocess.Popen(command, cwd=clone, env=environment, text=True, stdout=-1, stderr=-3)
    assert site.stdout is not None
    said = next(line for line in site.stdout if "The admin is at" in line)
    url, user, password = re.search(r"(http://[^ ]+/admin/) \(user (\w+), password (\w+)\)", said).groups()
    browser = build_opener(HTTPCookieProcessor())
    token = re.search(r'csrfmiddlewaretoken" value="(\w+)"', browser.open(url).read().decode())[1]
    login = {"username": user, "password": password, "csrfmiddlewaretoken": token, "next": "/admin/"}
    page = browser.open(Request(f"{url}login/", urlencode(login).encode(), {"Referer": url})).read().decode()
    assert "/admin/djqueue/task/" in page
    eventually(lambda: "worker-" in browser.open(f"{url}djqueue/worker/").read().decode(), what="the worker's row")
    assert browser.open(f"{url}djqueue/task/").status == 200
    children = psutil.Process(site.pid).children(recursive=True)
    site.send_signal(signal.SIGINT)
    out, _ = site.communicate(timeout=LONGEST)
    assert site.returncode == 0
    assert "Stopped." in out
    assert not [child for child in children if "manage.py" in " ".join(cmdline(child))]


def cmdline(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.NoSuchProcess:
        return []


def readme_commands() -> list[str]:
    blocks = re.findall(r"```bash\n(.*?)```", (PROJECT / "README.md").read_text(), re.DOTALL)
    return [line.partition("#")[0].strip() for block in blocks for line in block.splitlines() if line.strip()]


@pytest.mark.parametrize("command", [c for c in readme_commands() if c.startswith("make ")])
def test_the_readme_names_targets_that_exist(command: str) -> None:
    assert re.search(rf"^{command.split()[1]}:", (PROJECT / "Makefile").read_text(), re.MULTILINE)


@pytest.mark.parametrize("command", [c for c in readme_commands() if "manage.py" in c])
def test_the_readme_names_commands_that_exist(command: str, clone, environment) -> None:
    arguments = command.partition("manage.py ")[2].split()
    subprocess.run(
        [sys.executable, "manage.py", "help", arguments[0]], cwd=clone, env=environment, check=True, stdout=-3
    )
