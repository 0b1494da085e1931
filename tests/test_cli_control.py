"""``manage.py djqueue inspect`` and ``control``: words, tables, JSON and exit codes."""

from __future__ import annotations

import json
import signal
from io import StringIO
from pathlib import Path

import pytest
from django.core.management import CommandError, call_command

from djqueue.control import catalogue
from djqueue.management.subcommands.asking import arguments_of
from djqueue.models import RateLimit, Worker

from .conftest import Session
from .site import control_tasks as site
from .site.tasks import noop
from .worker_process import Notes, Workers, all_finished, eventually

pytestmark = pytest.mark.django_db(transaction=True)

IMPORTS = ["tests.site.tasks", "tests.site.control_tasks"]


def djqueue(*words: str) -> tuple[int, str, str]:
    """Run a subcommand; return its exit code, and what it wrote to stdout and stderr."""
    out, err = StringIO(), StringIO()
    try:
        call_command("djqueue", *words, stdout=out, stderr=err, no_color=True)
    except SystemExit as exit:
        return int(exit.code or 0), out.getvalue(), err.getvalue()
    return 0, out.getvalue(), err.getvalue()


def test_questions_and_orders_are_printed_as_trees_and_json(workers: Workers, file: Notes, tmp_path: Path):
    workers.run("-c", "1", "-n", "one@here", IMPORTS=IMPORTS)
    gate = tmp_path / "gate"
    held = site.holds.delay(file.path, str(gate), password="sour")
    file.await_lines(1)

    assert djqueue("inspect", "ping", "-t", "20") == (0, "-> one@here: pong\n", "")
    code, out, _ = djqueue("inspect", "active", "--timeout", "20")
    assert code == 0
    assert held.id in out
    assert "password=[redacted]" in out
    assert "sour" not in out
    code, out, _ = djqueue("inspect", "query_task", held.id, "0198c2a4-0000-7000-8000-000000000000", "--json", "-t20")
    assert json.loads(out)["one@here"][held.id][0] == "active"
    code, out, _ = djqueue("inspect", "registered", "max_retries", "-t", "20", "--json")
    assert f"{noop.name} [max_retries=3]" in json.loads(out)["one@here"]
    code, out, _ = djqueue("inspect", "stats", "-t", "20", "-d", "one@*")
    assert "max-concurrency: 1" in out
    assert djqueue("inspect", "reserved", "-t", "20")[1] == "-> one@here:\n    - empty -\n"
    code, out, _ = djqueue("inspect", "echo", "lemon", "times=2", "extra=[1]", "-t", "20", "--json")
    assert json.loads(out)["one@here"]["said"] == ["lemon", "lemon"]

    assert djqueue("control", "pool_grow", "2", "-t", "20") == (0, "-> one@here: 3 executors\n", "")
    assert djqueue("control", "time_limit", "x", "soft=3", "-t", "20")[0] == 0
    code, out, err = djqueue("control", "pool_shrink", "9", "-t", "20")
    assert (code, out) == (1, "-> one@here: error\n")
    assert err == "one@here: expected the pool to have 1 to 64 executors, got: -6\n"
    gate.touch()
    eventually(all_finished([held]))
    assert djqueue("control", "shutdown", "-t", "20")[0] == 0
    assert workers.started[0].wait() == 0


def test_tasks_are_cancelled_and_terminated_without_a_worker(workers: Workers, file: Notes, tmp_path: Path):
    waiting = noop.delay()
    said = "1 cancelled at once, 0 asked to end, finished or unknown"
    assert djqueue("control", "revoke", waiting.id) == (0, f"{said}\n", "")
    assert waiting.state == "REVOKED"
    stamped = noop.s()
    stamped.stamp(customer=7)
    stamped = stamped.apply_async()
    said = "1 cancelled at once; those that run are asked to end"
    assert djqueue("control", "revoke_by_stamped_headers", "customer=7", "customer=8") == (0, f"{said}\n", "")
    assert stamped.state == "REVOKED"
    with pytest.raises(CommandError, match="expected stamps as name=value, got: 'customer'"):
        djqueue("control", "revoke_by_stamped_headers", "customer")
    workers.run("-c", "1", IMPORTS=IMPORTS)
    running = site.holds.delay(file.path, str(tmp_path / "never"))
    file.await_lines(1)
    assert json.loads(djqueue("control", "terminate", "KILL", running.id, "--json")[1])["ok"].startswith("0 cancelled")
    eventually(lambda: running.state == "REVOKED")
    with pytest.raises(CommandError, match="expected task_id to be a UUID, got: 'lemon'"):
        djqueue("control", "revoke", "lemon")
    with pytest.raises(CommandError, match="expected signal to be an OS signal"):
        djqueue("control", "terminate", "SIGLEMON", running.id)
    with pytest.raises(CommandError, match="takes no --destination"):
        djqueue("control", "revoke", running.id, "-d", "one@here")


def test_a_rate_limit_is_set_without_a_worker():
    assert djqueue("control", "rate_limit", noop.name, "10/m") == (0, f"{noop.name}: 10/m\n", "")
    assert RateLimit.objects.get(name=noop.name).per_second == pytest.approx(10 / 60)
    assert djqueue("control", "rate_limit", noop.name, "declared")[0] == 0
    assert not RateLimit.objects.filter(name=noop.name, per_second__isnull=False).exists()
    with pytest.raises(CommandError, match="got: 'fast'"):
        djqueue("control", "rate_limit", noop.name, "fast")


def test_who_does_not_answer_is_named_on_stderr(workers: Workers):
    worker = workers.run("-c", "1", "-n", "stopped@x", LEASE=60, HEARTBEAT=1)
    worker.send(signal.SIGSTOP)
    try:
        assert djqueue("inspect", "ping", "-t", "0.2") == (1, "", "stopped@x did not answer in 0.2 s\n")
        assert json.loads(djqueue("inspect", "ping", "-t", "0.2", "--json")[1]) == {}
    finally:
        worker.send(signal.SIGCONT)


def test_without_workers_it_says_so():
    assert djqueue("inspect", "ping") == (1, "", "no worker is alive\n")
    assert djqueue("control", "shutdown") == (1, "", "no worker is alive\n")


def test_what_there_is_is_listed():
    code, out, _ = djqueue("inspect")
    assert code == 0
    for line in ("  active ", "query_task ids...", "  echo text [times] [extra]", "says again what it is told"):
        assert line in out
    assert "pool_grow" not in out
    code, out, _ = djqueue("control")
    for line in ("pool_grow [n]", "leave_mark name", "time_limit task_name [hard] [soft]", "terminate signal ids..."):
        assert line in out


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "pnig"), r"unknown inspect command 'pnig'\. Did you mean 'ping'"),
        (("inspect", "pool_grow"), "unknown inspect command 'pool_grow'. Known are: active, "),
        (("control", "ping"), "unknown control command 'ping'"),
        (("control", "pool_grow", "two"), r"expected n of pool_grow\(n: int = 1\) to be int, got: 'two'"),
        (("control", "pool_grow", "1", "2"), "takes no further argument, got: '2'"),
        (("control", "add_consumer"), "needs 'queue'"),
        (("control", "time_limit", "x", "hard=long"), "expected hard of time_limit"),
        (("inspect", "query_task"), "needs 'ids'"),
        (("inspect", "ping", "-t", "0"), "expected timeout to be a number of seconds above 0"),
        (("inspect", "ping", "-d", "two@x"), "no live worker is called 'two@x'. Alive are: one@x."),
        (("inspect", "ping", "--limit", "0"), "expected limit to be 1 or more"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, tuple) else "",
)
def test_what_makes_no_sense_is_an_error_that_says_what_would(session: Session, words: tuple[str, ...], message: str):
    session.new_worker("one@x")
    with pytest.raises(CommandError, match=message):
        djqueue(*words)
    assert Worker.objects.count() == 1


def test_words_become_what_the_command_takes():
    limit = catalogue.find("time_limit")
    assert arguments_of(limit, ["a.b", "3.5", "soft=2"]) == {"task_name": "a.b", "hard": 3.5, "soft": 2}
    assert arguments_of(limit, ["hard=none", "7"]) == {"hard": None, "task_name": "7"}
    assert arguments_of(catalogue.find("query_task"), ["a", "b"]) == {"ids": ["a", "b"]}
    assert arguments_of(catalogue.find("echo"), ["x=y", "2", "plain"]) == {"text": "x=y", "times": 2, "extra": "plain"}
    assert arguments_of(catalogue.find("conf"), ["True"]) == {"with_defaults": True}


@pytest.mark.parametrize(
    "subcommand", ["inspect", "control", "status", "list", "pause", "resume", "purge", "call", "result"]
)
def test_help_teaches(subcommand: str, capsys: pytest.CaptureFixture[str]):
    with pytest.raises(SystemExit) as exit:
        call_command("djqueue", subcommand, "--help")
    assert exit.value.code == 0
    out = capsys.readouterr().out
    assert "options:" in out
    assert subcommand == "resume" or f"  manage.py djqueue {subcommand}" in out
    assert subcommand in ("pause", "list") or "xit code" in out
