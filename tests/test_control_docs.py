"""The pages on control and deployment: their examples run, and the files in deploy/ say what there is."""

from __future__ import annotations

import re
import shlex
import socket
from pathlib import Path
from typing import Any

import pytest
import yaml
from django.core.management import load_command_class
from django.db import connection
from django.utils import timezone

from djqueue import conf, control
from djqueue.control import catalogue
from djqueue.management.subcommands.control_workers import LOCAL
from djqueue.worker.components import Component
from djqueue.worker.configuration import OPTIONS, build, gather

from .site.tasks import noop
from .worker_process import Workers

ROOT = Path(__file__).resolve().parent.parent
PAGES = {name: (ROOT / "docs" / f"{name}.md").read_text() for name in ("control", "deployment")}
DEPLOY = ROOT / "deploy"


def examples(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", PAGES[page], re.DOTALL)


COMMANDS = [
    shlex.split(line, comments=True)
    for page in PAGES
    for text in (*examples(page, "bash"), *re.findall(r"`(manage\.py djqueue [^`]+)`", PAGES[page]))
    for line in text.splitlines()
    if line.startswith("manage.py djqueue ")
]


@pytest.fixture
def known_commands(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(catalogue, "_commands", dict(catalogue._commands))


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_command_lines_are_understood(words: list[str]) -> None:
    parser = load_command_class("djqueue", "djqueue").create_parser("manage.py", "djqueue")
    options = parser.parse_args(words[2:])
    name = getattr(options, "command_name", None)
    if name not in (None, "disk_free"):
        assert catalogue.find(name).kind == options.subcommand


def test_there_are_command_lines():
    assert len(COMMANDS) >= 8


@pytest.mark.django_db(transaction=True)
def test_the_examples_in_python_run(workers: Workers, known_commands: None, tmp_path: Path) -> None:
    calls, waiting, pauses, commands, asked, components, settings = examples("control", "python")
    worker = workers.run("-c", "1", "-n", "worker-4711@web1", "-Q", "default")
    from tests.worker_process import eventually

    for text in (calls, waiting):
        exec(text, {"control": control})
    eventually(lambda: worker.process.poll() is not None)
    exec(pauses, {"tomorrow": timezone.now() + timezone.timedelta(days=1)})
    assert [one.kind for one in control.paused()] == ["key", "key", "task"]
    names: dict[str, Any] = {"__name__": "shop.tasks", "shutil": __import__("shutil"), "cache": None}
    exec(commands, names)
    assert str(catalogue.find("disk_free")) == "disk_free(path: str = '/')"
    assert catalogue.find("clear_cache").help == "empties the site's cache"
    exec(asked, {"control": control})
    exec(components, names)
    assert issubclass(names["Health"], Component)
    exec(settings, names)
    assert conf.problems(names["DJQUEUE"]) == []


def test_every_command_is_described():
    for command in catalogue.commands():
        if command.function is None or command.function.__module__ == "djqueue.control.site":
            assert f"`{command.name}" in PAGES["control"], command.name
    for name in LOCAL:
        assert f"`{name}(" in PAGES["control"]


def unit(name: str) -> dict[str, str]:
    lines = (DEPLOY / "systemd" / name).read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if "=" in line and not line.startswith("#"))


def variables() -> dict[str, str]:
    lines = (DEPLOY / "systemd" / "djqueue.env").read_text().splitlines()
    return dict(line.split("=", 1) for line in lines if line and not line.startswith("#"))


def as_options(monkeypatch: pytest.MonkeyPatch, given: dict[str, str]) -> Any:
    known = {f"DJQUEUE_{option.name}" for option in OPTIONS}
    assert {name for name in given if name.startswith("DJQUEUE_")} <= known
    for name, value in given.items():
        if name in known:
            monkeypatch.setenv(name, value)
    return build(gather({}))


def test_the_units_start_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    worker, beat = unit("djqueue-worker@.service"), unit("djqueue-beat.service")
    assert worker["ExecStart"].endswith(" manage.py runworker")
    assert beat["ExecStart"].endswith(" manage.py runbeat")
    options = as_options(monkeypatch, variables())
    assert options.drain_timeout is not None
    assert float(worker["TimeoutStopSec"]) > options.drain_timeout + 10


def test_the_manifests_start_what_there_is(monkeypatch: pytest.MonkeyPatch) -> None:
    (worker,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "worker.yaml").read_text())
    pod = worker["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    assert container["command"] == ["python", "manage.py", "runworker"]
    options = as_options(monkeypatch, {one["name"]: one["value"] for one in container["env"]})
    assert options.drain_timeout is not None
    assert pod["terminationGracePeriodSeconds"] > options.drain_timeout + 10
    assert options.name == f"worker@{socket.gethostname()}"
    probe = container["livenessProbe"]["exec"]["command"][2]
    assert 'inspect ping -d "worker@$(hostname)"' in probe
    (beat,) = yaml.safe_load_all((DEPLOY / "kubernetes" / "beat.yaml").read_text())
    assert beat["spec"]["template"]["spec"]["containers"][0]["command"] == ["python", "manage.py", "runbeat"]


@pytest.mark.django_db
def test_keda_counts_what_waits_and_runs():
    scaled, authentication = yaml.safe_load_all((DEPLOY / "kubernetes" / "keda.yaml").read_text())
    (trigger,) = scaled["spec"]["triggers"]
    assert trigger["authenticationRef"]["name"] == authentication["metadata"]["name"]
    for queue in ("default", "mail", "other"):
        noop.apply_async(queue=queue)
    with connection.cursor() as cursor:
        cursor.execute(trigger["metadata"]["query"])
        assert cursor.fetchone() == (2,)


def test_links_lead_somewhere():
    for page, text in PAGES.items():
        for target in re.findall(r"\]\((?!http)([^)#]+)", text):
            assert (ROOT / "docs" / target).exists(), (page, target)
