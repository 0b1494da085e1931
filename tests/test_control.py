"""Commands to running workers: what each does, who answers, and what becomes of those that cannot be obeyed."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any

import pytest

from djqueue import control
from djqueue.control import catalogue
from djqueue.control.asking import addressed
from djqueue.exceptions import EncodeError, WorkerNotFound
from djqueue.models import CommandReply, RunningTask, Worker, WorkerCommand
from djqueue.states import State
from djqueue.store.commands import KnownWorker, forget_commands

from .asking import IMPORTS, PATIENT, ask, only, run, tell
from .conftest import Session
from .site import control_tasks as site
from .site.tasks import add, noop
from .site.worker_tasks import notes
from .worker_process import Notes, WorkerProcess, Workers, all_finished, eventually, stored


def name_of(worker: WorkerProcess) -> str:
    return Worker.objects.get(pid=worker.pid).name


# Questions


def test_every_question_has_its_answer(workers: Workers, file: Notes, tmp_path: Path):
    worker = run(workers, "-c", "1", "-P", "threads", "-n", "one@here", "-Q", "default,mail")
    gate = tmp_path / "gate"
    running = site.holds.delay(file.path, str(gate), password="sour")
    later = noop.apply_async(countdown=3600, queue="mail", priority=3)
    noop.apply_async(countdown=60, queue="elsewhere")
    file.await_lines(1)
    unknown = "0198c2a4-0000-7000-8000-000000000000"
    control.revoke(unknown)
    control.pause(queue="mail")

    asked = control.inspect(timeout=PATIENT)
    assert asked.ping() == {"one@here": {"ok": "pong"}}
    (active,) = only(asked.active())
    assert (active["id"], active["name"], active["hostname"]) == (running.id, site.holds.name, "one@here")
    assert active["worker_pid"] in [executor.pid for executor in worker.executors()]
    assert active["args"] == [file.path, str(gate)]
    assert active["kwargs"] == {"password": "[redacted]"}
    assert active["delivery_info"] == {"routing_key": "default", "priority": 0, "redelivered": False}
    assert abs(active["time_start"] - time.time()) < 60
    assert only(asked.reserved()) == []
    (scheduled,) = only(asked.scheduled())
    assert (scheduled["request"]["id"], scheduled["priority"]) == (later.id, 3)
    assert only(asked.scheduled(limit=0)) == []
    assert only(asked.query_task(running.id, unknown, [later.id])).keys() == {running.id}
    assert only(asked.query_task(running.id))[running.id][0] == "active"
    assert only(asked.revoked()) == [unknown]
    queues = {queue["name"]: queue["paused"] for queue in only(asked.active_queues())}
    assert queues == {"default": False, "mail": True}
    assert site.holds.name in only(asked.registered())
    assert f"{add.name} [max_retries=3]" in only(asked.registered("max_retries", "rate_limit"))
    assert abs(only(asked.clock())["clock"] - time.time()) < 60
    gate.touch()
    assert stored(running).state == State.SUCCEEDED


def test_the_settings_are_told_without_secrets(workers: Workers):
    schedules = {"nightly": {"task": noop.name, "schedule": 60, "kwargs": {"api_key": "sour"}}}
    run(workers, "-c", "1", PAYLOAD_KEYS=["sourkey"], SCHEDULES=schedules, CRASH_LIMIT=7)

    conf = ask("conf")
    assert (conf["CRASH_LIMIT"], conf["LEASE"], conf["PAYLOAD_KEYS"]) == (7, 4.0, "[hidden]")
    assert conf["SCHEDULES"]["nightly"]["kwargs"] == {"api_key": "[redacted]"}
    assert "POLL_MAX" not in conf
    assert ask("conf", with_defaults=True)["POLL_MAX"] == 1.0
    report = ask("report")["ok"]
    for text in ("software -> djqueue:", "postgresql:", "CRASH_LIMIT: 7", "pool:processes"):
        assert text in report
    assert "sour" not in report + str(conf)


def test_what_waits_inside_a_worker_is_reserved(workers: Workers, file: Notes, tmp_path: Path):
    run(workers, "-c", "1", "-P", "asyncio")
    gate = tmp_path / "gate"
    control.inspect(timeout=PATIENT).ping()
    results = [site.holds.delay(file.path, str(gate)) for _ in range(3)]
    file.await_lines(1)
    held = eventually(lambda: RunningTask.objects.count())
    active, reserved = control.inspect(timeout=PATIENT).active(), control.inspect(timeout=PATIENT).reserved()
    assert len(only(active)) >= 1
    assert {task["id"] for task in only(active)} | {task["id"] for task in only(reserved)} <= {r.id for r in results}
    assert held >= 1
    gate.touch()
    eventually(all_finished(results))


# Who is asked


def test_commands_go_to_those_that_are_named(workers: Workers):
    for name in ("a1@x", "a2@x", "b1@x"):
        workers.start("-c", "1", "-P", "threads", "-n", name, IMPORTS=IMPORTS)
    for worker in workers.started:
        worker.ready()

    assert control.inspect(timeout=PATIENT).ping().keys() == {"a1@x", "a2@x", "b1@x"}
    assert control.inspect("a1@x", timeout=PATIENT).ping().keys() == {"a1@x"}
    assert control.inspect(["b1@x", "a2@x"], timeout=PATIENT).ping().keys() == {"a2@x", "b1@x"}
    assert control.inspect("a*", timeout=PATIENT).ping().keys() == {"a1@x", "a2@x"}
    assert 1 <= len(control.inspect(limit=1, timeout=PATIENT).ping()) <= 3
    assert sorted(name for reply in control.ping(timeout=PATIENT) for name in reply) == ["a1@x", "a2@x", "b1@x"]
    with pytest.raises(WorkerNotFound, match=r"no live worker is called 'c1@x'. Alive are: a1@x, a2@x, b1@x\."):
        control.inspect(["a1@x", "c1@x"]).ping()

    control.shutdown("a*")
    assert [worker.wait() for worker in workers.started[:2]] == [0, 0]
    assert workers.started[2].process.poll() is None
    with pytest.raises(WorkerNotFound):
        control.inspect("a1@x").ping()


@pytest.mark.django_db(transaction=True)
def test_where_nobody_lives_nobody_answers():
    began = time.monotonic()
    replies = control.inspect(timeout=60).ping()
    assert (replies, replies.silent, replies.gone) == ({}, (), ())
    assert control.ping(timeout=60) == []
    assert control.shutdown() is None
    assert time.monotonic() - began < 30
    with pytest.raises(WorkerNotFound, match="No worker is alive"):
        control.shutdown("one@here")


def test_a_worker_whose_lease_ran_out_is_said_to_be_gone(session: Session):
    session.new_worker("late@x", lease=-12)
    session.new_worker("well@x")
    with pytest.raises(
        WorkerNotFound, match=r"worker late@x is gone: its lease ran out 1\d s ago. Alive are: well@x\."
    ):
        control.pool_grow(destination="late@x")
    assert not WorkerCommand.objects.exists()


def test_names_with_wildcards_mean_the_live_ones():
    known = [KnownWorker(1, "a@x", -5.0), KnownWorker(2, "a@y", 3.0), KnownWorker(3, "b@x", -1.0)]
    assert [worker.id for worker in addressed(known, None)] == [1, 3]
    assert [worker.id for worker in addressed(known, "a@*")] == [1]
    assert [worker.id for worker in addressed(known, ["b@x", "*"])] == [1, 3]
    with pytest.raises(WorkerNotFound, match="worker a@y is gone"):
        addressed(known, ["a@y"])
    for nothing in ("", [], [""], [3]):
        with pytest.raises(ValueError, match="expected destination to be names of workers"):
            addressed(known, nothing)  # type: ignore[arg-type]


def test_two_workers_of_one_name_both_answer(workers: Workers):
    for _ in range(2):
        workers.start("-c", "1", "-P", "threads", "-n", "same@x", IMPORTS=IMPORTS)
    for worker in workers.started:
        worker.ready()
    replies = control.inspect(timeout=PATIENT).stats()
    assert {reply["pid"] for reply in replies.values()} == {worker.pid for worker in workers.started}


# Workers that do not answer


def test_who_has_not_answered_in_time_is_named(workers: Workers):
    """And does not obey any more when it wakes up."""
    worker = run(workers, "-c", "1", "-n", "stopped@x", LEASE=60, HEARTBEAT=1)
    worker.send(signal.SIGSTOP)
    try:
        replies = control.inspect(timeout=0.3).ping()
        grown = control.pool_grow(3, reply=True, timeout=0.2)
    finally:
        worker.send(signal.SIGCONT)
    assert (replies, replies.silent, replies.gone) == ({}, ("stopped@x",), ())
    assert grown is not None
    assert (list(grown), grown.silent) == ([], ("stopped@x",))
    eventually(lambda: not CommandReply.objects.filter(taken_at__isnull=True).exists())
    assert ask("stats")["pool"]["executors"] == 1
    assert not CommandReply.objects.filter(command__name="pool_grow", answered_at__isnull=False).exists()


def test_a_worker_that_is_killed_meanwhile_is_reported_as_gone(workers: Workers):
    worker = run(workers, "-c", "1", "-n", "doomed@x", LEASE=1.5, HEARTBEAT=0.5)
    worker.send(signal.SIGSTOP)
    os.kill(worker.pid, signal.SIGKILL)
    replies = control.inspect(timeout=PATIENT).ping()
    assert (replies, replies.silent, replies.gone) == ({}, (), ("doomed@x",))


# Bad input


@pytest.mark.django_db(transaction=True)
def test_arguments_that_make_no_sense_are_refused_before_anything_is_sent():
    for call, message in [
        (lambda: control.pool_grow("two"), r"expected n of pool_grow\(n: int = 1\) to be int, got: 'two'"),
        (lambda: control.pool_grow(True), "expected n of pool_grow"),
        (lambda: control.add_consumer(None), r"expected queue of add_consumer\(queue: str\) to be str, got: None"),
        (lambda: control.time_limit("x", hard="long"), "expected hard of time_limit"),
        (lambda: control.broadcast("ping", {"x": 1}), r"inspect command ping\(\) takes no 'x'"),
        (lambda: control.broadcast("add_consumer"), r"control command add_consumer\(queue: str\) needs 'queue'"),
        (lambda: control.inspect(timeout=0).ping(), "expected timeout to be a number of seconds above 0, got: 0"),
        (lambda: control.inspect(limit=0).ping(), "expected limit to be 1 or more replies, got: 0"),
    ]:
        with pytest.raises(ValueError, match=message):
            call()
    assert not WorkerCommand.objects.exists()


def test_arguments_that_cannot_be_stored_are_refused(session: Session):
    session.new_worker()
    with pytest.raises(EncodeError):
        control.inspect().request("echo", text="x", extra=object())
    with pytest.raises(EncodeError):
        control.broadcast("add_consumer", {"queue": "a\0b"})
    assert not WorkerCommand.objects.exists()


# Orders


def test_a_worker_serves_other_queues_as_it_is_told(workers: Workers):
    run(workers, "-c", "1", "-Q", "default")
    mail, spam = noop.apply_async(queue="mail"), noop.apply_async(queue="spam")

    assert tell("add_consumer", queue="mail") == {"ok": "serves default,mail"}
    eventually(all_finished([mail]))
    assert Worker.objects.get().queues == "default,mail"
    tell("add_consumer", queue="s*")
    eventually(all_finished([spam]))

    assert tell("cancel_consumer", queue="mail") == {"ok": "serves default,s*"}
    assert tell("cancel_consumer", queue="spam") == {"ok": "serves default,s*,-spam"}
    assert "expected queue to be one that is served" in tell("cancel_consumer", queue="mail")["error"]
    unserved = [noop.apply_async(queue=queue) for queue in ("mail", "spam")]
    eventually(all_finished([noop.delay(), noop.apply_async(queue="soup")]))
    assert [result.state for result in unserved] == ["PENDING", "PENDING"]
    tell("cancel_consumer", queue="s*")
    assert tell("cancel_consumer", queue="default") == {"ok": "serves no queue"}
    tell("add_consumer", queue="spam")
    eventually(all_finished(unserved[1:]))


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
def test_a_pool_grows_and_shrinks_without_dropping_a_task(workers: Workers, file: Notes, tmp_path: Path, pool: str):
    slots = "1" if pool == "processes" else "2"
    worker = run(workers, "-P", pool, "-c", slots, LEASE=20, HEARTBEAT=1)
    size = int(slots)
    gate = tmp_path / "gate"
    held = [site.holds.delay(file.path, str(gate)) for _ in range(4 * size)]
    file.await_lines(size)

    assert tell("pool_grow", n=3) == {"ok": "4 executors"}
    file.await_lines(4 * size)  # they run at once
    assert len(worker.executors()) == 4
    row = Worker.objects.get()
    assert (row.processes, row.concurrency) == (4, 4 if pool == "processes" else 2)

    assert tell("pool_shrink", n=3) == {"ok": "1 executors"}
    assert ask("stats")["pool"]["leaving"] == 3
    later = [noop.delay() for _ in range(20)]
    assert len(worker.executors()) == 4  # each finishes what it runs
    gate.touch()
    eventually(all_finished([*held, *later]))
    eventually(lambda: len(worker.executors()) == 1, what="the others to end")
    eventually(lambda: ask("stats")["pool"]["leaving"] == 0)
    assert {stored(result).attempt for result in [*held, *later]} == {1}
    eventually(all_finished([noop.delay()]))


def test_an_executor_that_is_killed_while_it_leaves_is_not_replaced(workers: Workers, file: Notes, tmp_path: Path):
    worker = run(workers, "-c", "2")
    gate = tmp_path / "gate"
    held = [site.holds.delay(file.path, str(gate)) for _ in range(2)]
    file.await_lines(2)
    before = {executor.pid for executor in worker.executors()}
    tell("pool_shrink", n=1)
    for pid in before:
        os.kill(pid, signal.SIGKILL)
    gate.touch()
    eventually(all_finished(held))
    eventually(lambda: len(worker.executors()) == 1 and ask("stats")["pool"]["leaving"] == 0)
    assert not before & {executor.pid for executor in worker.executors()}
    assert [stored(result).attempt for result in held] == [2, 2]


def test_a_worker_shuts_down_after_it_has_answered(workers: Workers, file: Notes):
    worker = run(workers, "-c", "1")
    result = notes.delay(file.path, "x", 1.0)
    file.await_lines(1)
    assert tell("shutdown") == {"ok": "shutting down"}
    assert "the worker is draining" in (tell("pool_grow").get("error") or "the worker is draining")
    assert worker.wait() == 0
    assert result.state == "SUCCESS"


# The site's own commands


def test_commands_are_declared_with_what_they_take():
    echo = catalogue.find("echo")
    assert str(echo) == "echo(text: str, times: int = 1, extra = None)"
    assert (echo.kind, echo.help) == ("inspect", "says again what it is told")
    assert echo.bind({"text": "a"}) == {"text": "a", "times": 1, "extra": None}
    with pytest.raises(ValueError, match=r"expected times of echo\(.*\) to be int, got: 'x'"):
        echo.bind({"text": "a", "times": "x"})
    with pytest.raises(LookupError, match=r"unknown command 'ehco'\. Did you mean 'echo'"):
        catalogue.find("ehco")


def test_a_declaration_that_makes_no_sense_is_refused():
    with pytest.raises(ValueError, match="expected a name that is free for the control command, got: 'ping'"):

        @control.control_command
        def ping(state: Any) -> None: ...

    with pytest.raises(ValueError, match="got: 'echo'"):
        control.inspect_command(name="echo")(lambda state: None)
    with pytest.raises(TypeError, match="named parameters only"):

        @control.inspect_command
        def starred(state: Any, *words: str) -> None: ...

    with pytest.raises(TypeError, match="worker's state first"):

        @control.inspect_command
        def stateless() -> None: ...


# Pruning


def test_commands_are_forgotten_some_minutes_after_they_expired(session: Session):
    session.new_worker("w@x")
    control.inspect(timeout=0.01).ping()
    control.pool_grow()
    assert (WorkerCommand.objects.count(), CommandReply.objects.count()) == (2, 2)
    session(forget_commands)
    assert WorkerCommand.objects.count() == 2
    session.sql("UPDATE djqueue_workercommand SET expires_at = now() - interval '301 s' WHERE name = 'ping'")
    session(forget_commands)
    assert (WorkerCommand.objects.count(), CommandReply.objects.count()) == (1, 1)
