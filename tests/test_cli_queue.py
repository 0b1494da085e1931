"""``manage.py djqueue status``, ``list``, ``pause``, ``resume``, ``purge``, ``call`` and ``result``."""

from __future__ import annotations

import json
from typing import Any

import pytest
from django.core.management import CommandError
from django.db import transaction

from djqueue import chain, control
from djqueue.models import Queue, ReadyTask, RunningTask, ScheduledTask, Task
from djqueue.records import Lane, Outcome
from djqueue.store.claim import claim
from djqueue.store.release import release

from .conftest import DEFAULT, Session
from .site.cluster_limits import one_at_a_time
from .site.tasks import add, fails, noop
from .test_cli_control import djqueue
from .worker_process import Workers, all_finished, eventually

pytestmark = pytest.mark.django_db(transaction=True)


def say(monkeypatch: pytest.MonkeyPatch, answer: str) -> None:
    monkeypatch.setattr("builtins.input", lambda prompt: answer)


# Status and lists


def test_status_says_who_lives_and_what_waits(session: Session):
    assert djqueue("status")[0] == 1
    session.new_worker("gone@x", lease=-1)
    assert djqueue("status", "--quiet") == (1, "", "")
    session.new_worker("one@x")
    for _ in range(3):
        noop.apply_async(queue="mail")
    control.pause(queue="slow", seconds=60)
    code, out, _ = djqueue("status")
    assert code == 0
    assert "1 worker alive" in out
    assert [line.split()[:2] for line in out.splitlines() if "@x" in line] == [["gone@x", "no"], ["one@x", "yes"]]
    assert [line.split()[:3] for line in out.splitlines() if line.startswith(("mail", "slow"))] == [
        ["mail", "3", "0"],
        ["slow", "0", "0"],
    ]
    status = json.loads(djqueue("status", "--json")[1])
    assert [worker["alive"] for worker in status["workers"]] == [False, True]
    assert {queue["queue"]: queue["ready"] for queue in status["queues"]} == {"mail": 3, "slow": 0}
    assert status["pauses"][0]["name"] == "slow"


def test_lists_are_tables_or_json(session: Session, worker: int):
    first, later = noop.delay(), add.apply_async((1, 2), countdown=60, queue="mail")
    session(claim, worker, [DEFAULT], 1)
    rows = json.loads(djqueue("list", "tasks", "--json")[1])
    assert [(row["id"], row["state"]) for row in rows] == [(later.id, "scheduled"), (first.id, "running")]
    for words, expected in [
        (["--state", "running"], [first.id]),
        (["--state", "ready"], []),
        (["--state", "succeeded"], []),
        (["--queue", "mail"], [later.id]),
        (["--name", noop.name], [first.id]),
        (["--limit", "1"], [later.id]),
    ]:
        assert [row["id"] for row in json.loads(djqueue("list", "tasks", "--json", *words)[1])] == expected
    assert noop.name in djqueue("list", "tasks")[1]
    assert djqueue("list", "tasks", "--state", "failed")[1] == "no tasks\n"
    assert {"name": noop.name, "queue": "default"} in json.loads(djqueue("list", "registered", "--json")[1])
    assert djqueue("list", "schedules")[1] == "no schedules\n"
    assert "worker" in djqueue("list", "workers")[1]
    assert djqueue("list", "queues")[0] == 0
    with pytest.raises(CommandError, match="expected --state only with tasks, got: queues"):
        djqueue("list", "queues", "--state", "ready")
    with pytest.raises(CommandError, match="expected --limit to be 1 or more, got: 0"):
        djqueue("list", "tasks", "--limit", "0")
    with pytest.raises(CommandError, match="invalid choice: 'lemons'"):
        djqueue("list", "lemons")


# Pause


def test_a_pause_is_made_and_ended():
    assert djqueue("pause", "queue", "mail") == (0, "queue mail is paused until it is resumed\n", "")
    assert djqueue("pause", "task", noop.name, "--seconds", "60")[1].startswith(f"task {noop.name} is paused until 20")
    assert json.loads(djqueue("pause", "key", "k", "--until", "2999-01-31T12:00", "--json")[1])["until"].startswith(
        "2999-01-31 11:00"
    )
    assert [row["kind"] for row in json.loads(djqueue("list", "pauses", "--json")[1])] == ["key", "queue", "task"]
    assert djqueue("resume", "queue", "mail") == (0, "queue mail goes on\n", "")
    assert djqueue("resume", "queue", "mail") == (1, "queue mail was not paused\n", "")
    assert json.loads(djqueue("resume", "key", "k", "--json")[1]) == {"kind": "key", "name": "k", "resumed": True}
    for words, message in [
        (["queue", "a b"], "expected the name of a queue"),
        (["queue", "a", "--seconds", "0"], "expected seconds to be above 0"),
        (["queue", "a", "--until", "soon"], "expected --until to be a time such as"),
        (["queue", "a", "--until", "2020-01-01"], "expected until to lie ahead"),
        (["queue", "a", "--until", "2999-01-01", "--seconds", "1"], "not allowed with argument"),
        (["lemon", "a"], "invalid choice: 'lemon'"),
    ]:
        with pytest.raises(CommandError, match=message):
            djqueue("pause", *words)


# Purge


def test_a_purge_asks_and_then_cancels_what_is_in_line(session: Session, worker: int, monkeypatch: Any):
    running = noop.delay()
    session(claim, worker, [DEFAULT], 1)
    waiting = [noop.apply_async(queue=queue, priority=p) for queue in ("default", "mail") for p in (-5, 0, 7)]
    later = noop.apply_async(countdown=60)
    workflow = chain(noop.si(), add.si(1, 2))()
    say(monkeypatch, "no")
    with pytest.raises(CommandError, match="nothing was purged"):
        djqueue("purge")
    say(monkeypatch, "yes")
    code, out, _ = djqueue("purge", "-Q", "mail")
    assert code == 0
    assert "  mail: 3 tasks\n" in out
    assert "3 tasks were purged" in out
    assert [result.state for result in waiting] == ["PENDING"] * 3 + ["REVOKED"] * 3

    assert json.loads(djqueue("purge", "--force", "--json")[1]) == {"purged": 4}
    assert {result.state for result in waiting} == {"REVOKED"}
    assert workflow.state == "FAILURE" or workflow.state == "REVOKED"
    assert (running.state, later.state) == ("STARTED", "PENDING")
    assert not ReadyTask.objects.exists()
    assert ScheduledTask.objects.count() == RunningTask.objects.count() == 1
    assert djqueue("purge") == (0, "nothing is in line\n", "")


def test_a_purge_takes_what_limits_hold_back_and_what_has_just_passed_them(session: Session, worker: int):
    """The front of a line is no queue of its own, here and in the list of queues."""
    lanes = [Lane("default!", 0), DEFAULT]
    passed, parked, following = (one_at_a_time.delay(1) for _ in range(3))
    (running,) = session(claim, worker, lanes, 5)
    assert running.id == passed.id
    session(release, worker, [Outcome.released(running.id, 1)])
    elsewhere = one_at_a_time.apply_async((1,), queue="mail")
    session(claim, worker, [DEFAULT, Lane("mail", 0)], 5)
    line = {"queue": "default", "ready": 1, "parked": 2, "running": 0, "paused_until": None}
    assert json.loads(djqueue("list", "queues", "--json")[1]) == [
        line,
        {**line, "queue": "mail", "ready": 0, "parked": 1},
    ]
    assert ReadyTask.objects.get().queue == "default!"

    assert json.loads(djqueue("purge", "-Q", "default", "--force", "--json")[1]) == {"purged": 3}
    assert {result.state for result in (passed, parked, following)} == {"REVOKED"}
    assert [one.id for one in session(claim, worker, [Lane("mail!", 0)], 5)] == [elsewhere.id]


def test_a_purge_leaves_out_what_it_is_told_to(monkeypatch: Any):
    for queue in ("a", "b", "c"):
        noop.apply_async(queue=queue)
    assert "2 tasks were purged" in djqueue("purge", "-X", "b", "-f")[1]
    assert ReadyTask.objects.get().queue == "b"
    with pytest.raises(CommandError, match=r"unknown queue 'd'\. Known are: b\."):
        djqueue("purge", "-Q", "d", "-f")
    with pytest.raises(CommandError, match="expected --force with --json"):
        djqueue("purge", "--json")
    monkeypatch.setattr("builtins.input", lambda prompt: (_ for _ in ()).throw(EOFError))
    with pytest.raises(CommandError, match="nothing was purged"):
        djqueue("purge")


def test_a_purge_in_batches_and_from_python(monkeypatch: Any):
    from djqueue.control import purging

    monkeypatch.setattr(purging, "BATCH", 3)
    noop.delay_many(((), {}) for _ in range(10))
    chain(noop.si(), noop.si())()
    noop.apply_async(queue="mail")
    assert control.purge("default") == 11
    assert control.purge() == 1
    assert control.purge([]) == 0
    with pytest.raises(ValueError, match="expected the name of a queue"):
        control.purge("a b")
    noop.delay()
    with transaction.atomic():
        assert control.purge() == 1
        transaction.set_rollback(True)
    assert ReadyTask.objects.count() == 1


def test_a_purge_leaves_what_is_claimed_just_now(connect: Any):
    first, second = connect(), connect()
    noop.delay()
    worker = first.new_worker()
    second.sql("BEGIN")
    second(claim, worker, [DEFAULT], 1)
    assert control.purge() == 0
    second.sql("COMMIT")
    assert RunningTask.objects.count() == 1
    assert not Queue.objects.exists()


# Call and result


def test_a_task_is_called_and_its_result_shown(workers: Workers):
    code, out, _ = djqueue("call", add.name, "--args", "[1, 2]", "--priority", "3", "-q", "sums")
    assert code == 0
    task = Task.objects.get(id=out.strip())
    assert (task.name, task.args, task.queue, task.priority) == (add.name, [1, 2], "sums", 3)
    code, out, _ = djqueue("result", str(task.pk))
    assert (code, "state:     PENDING" in out) == (0, True)
    with pytest.raises(CommandError, match="has not ended: it is PENDING"):
        djqueue("result", str(task.pk), "--wait", "0.05")

    workers.run("-c", "1")
    shown = json.loads(djqueue("result", str(task.pk), "--wait", "30", "--json")[1])
    assert (shown["state"], shown["result"], shown["args"]) == ("SUCCESS", 3, [1, 2])
    code, out, _ = djqueue("call", add.name, "-a", "[4]", "-k", '{"y": 5}', "--wait", "30", "--json")
    assert json.loads(out)["result"] == 9
    failed = fails.delay("a lemon")
    eventually(all_finished([failed]))
    code, out, _ = djqueue("result", failed.id, "--traceback")
    assert code == 1
    assert "error:     TooSour: " in out
    assert "Traceback" in out
    with pytest.raises(CommandError, match="TooSour"):
        djqueue("call", fails.name, "-a", '["x"]', "--wait", "30")


def test_a_call_may_wait_and_expire():
    djqueue("call", noop.name, "--countdown", "60", "--expires", "120")
    djqueue("call", noop.name, "--eta", "2999-01-31T12:00:00+01:00", "--expires", "2999-02-01")
    assert ScheduledTask.objects.count() == 2
    assert Task.objects.filter(expires_at__year=2999).count() == 1
    djqueue("call", "shop.tasks.unknown", "--unregistered", "-k", '{"a": 1}')
    assert Task.objects.get(name="shop.tasks.unknown").kwargs == {"a": 1}


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["tests.site.tasks.ad"], "no task named 'tests.site.tasks.ad' is registered in this process"),
        ([add.name, "--args", "1,2"], "expected --args to be JSON, got: '1,2'"),
        ([add.name, "--args", "{}"], "expected --args to be a list, got: '{}'"),
        ([add.name, "--kwargs", "[]"], "expected --kwargs to be an object"),
        ([add.name], "missing a required argument"),
        ([add.name, "--args", "[1, 2]", "--priority", "500"], "priority"),
        ([add.name, "--args", "[1, 2]", "-q", "a b"], "expected the name of a queue"),
        ([add.name, "--args", "[1, 2]", "--eta", "soon"], "expected --eta to be a time such as"),
        ([add.name, "--args", "[1, 2]", "--expires", "soon"], "expected --expires to be seconds or a time"),
        ([add.name, "--eta", "2999-01-01", "--countdown", "1"], "not allowed with argument"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_a_call_that_makes_no_sense_is_refused(words: list[str], message: str):
    with pytest.raises(CommandError, match=message):
        djqueue("call", *words)
    assert not Task.objects.exists()


def test_a_result_of_nothing_is_an_error():
    with pytest.raises(CommandError, match="expected the id of a task that is known, got: 0198c2a4"):
        djqueue("result", "0198c2a4-0000-7000-8000-000000000000")
    with pytest.raises(CommandError, match="expected task_id to be a UUID, got: 'lemon'"):
        djqueue("result", "lemon")
