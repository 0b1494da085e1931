"""The doctor: each thing that can be wrong is provoked, found and explained."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator
from dataclasses import FrozenInstanceError
from itertools import combinations
from types import SimpleNamespace
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.db.utils import ProgrammingError

from djqueue import doctor
from djqueue.doctor import Finding, check_invariants, examine, schema, server
from djqueue.doctor import queue as queue_checks
from djqueue.models import Task
from djqueue.store.promote import PROMOTE
from djqueue.worker.link import parameters

pytestmark = pytest.mark.django_db

NOWHERE = UUID(int=404)
IN_AN_HOUR = "now() + interval '1 hour'"


def sql(statement: str, *values: Any) -> None:
    with connection.cursor() as cursor:
        cursor.execute(statement, values or None)


def new_task() -> UUID:
    return Task.objects.create(name="t", queue="default").pk


def new_worker(*, lease: str = IN_AN_HOUR) -> int:
    with connection.cursor() as cursor:
        cursor.execute(
            "INSERT INTO djqueue_worker (name, host, pid, queues, pool, concurrency, version, lease_until, draining,"
            " running, succeeded, failed, lost)"
            f" VALUES ('w1', 'host', 1, '*', 'solo', 1, '1', {lease}, false, 0, 0, 0, 0) RETURNING id"
        )
        return int(cursor.fetchone()[0])


def put_ready(task: UUID) -> None:
    sql("INSERT INTO djqueue_readytask (queue, priority, task_id, attempt) VALUES ('default', 0, %s, 0)", task)


def put_scheduled(task: UUID) -> None:
    sql(
        f"INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason) VALUES ({IN_AN_HOUR}, %s, 0, 1)",
        task,
    )


def put_running(task: UUID, worker: int | None = None) -> None:
    sql(
        "INSERT INTO djqueue_runningtask (task_id, attempt, worker_id, claimed_at) VALUES (%s, 1, %s, now())",
        task,
        new_worker() if worker is None else worker,
    )


def put_finished(task: UUID) -> None:
    sql(
        "INSERT INTO djqueue_taskresult (task_id, state, attempt, worker, finished_at) VALUES (%s, 5, 1, 'w', now())",
        task,
    )


def put_attempt(task: UUID) -> None:
    sql(
        "INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, finished_at)"
        " VALUES (%s, 1, 9, 'w', '{}', now())",
        task,
    )


PLACES: dict[str, Callable[[UUID], None]] = {
    "ready": put_ready,
    "scheduled": put_scheduled,
    "running": put_running,
    "finished": put_finished,
}


def levels(findings: Iterator[Finding]) -> list[str]:
    return [finding.level for finding in findings]


# Invariants


def test_tasks_in_one_place_each_break_nothing() -> None:
    assert check_invariants() == []
    for put in PLACES.values():
        task = new_task()
        put(task)
        put_attempt(task)
    assert check_invariants() == []


def test_a_task_that_stands_nowhere_is_found() -> None:
    task = new_task()
    (finding,) = check_invariants()
    assert (finding.check, finding.level) == ("tasks-nowhere", "error")
    assert finding.found.startswith("1 task(s) stand in no table")
    assert str(task) in finding.found
    assert "Enqueue these tasks again" in finding.advice


@pytest.mark.parametrize(("first", "second"), [*combinations(PLACES, 2), ("ready", "ready")])
def test_a_task_that_stands_in_two_places_is_found(first: str, second: str) -> None:
    task = new_task()
    PLACES[first](task)
    PLACES[second](task)
    (finding,) = check_invariants()
    assert finding.check == "tasks-twice"
    assert f"{task} ({', '.join(sorted((first, second)))})" in finding.found


@pytest.mark.parametrize("place", [*PLACES, "attempt"])
def test_a_row_without_its_task_is_found(place: str) -> None:
    {**PLACES, "attempt": put_attempt}[place](NOWHERE)
    (finding,) = check_invariants()
    assert finding.check == "rows-without-task"
    assert f"{place} {NOWHERE}" in finding.found


def test_a_lease_without_a_worker_is_found() -> None:
    task = new_task()
    put_running(task, worker=777)
    (finding,) = check_invariants()
    assert finding.check == "leases-without-worker"
    assert f"{task} (worker 777)" in finding.found


def test_a_lease_that_ended_long_ago_is_found() -> None:
    task = new_task()
    put_running(task, new_worker(lease="now() - interval '1 minute'"))
    (finding,) = check_invariants()
    assert finding.check == "leases-ended"
    assert f"{task} (worker w1)" in finding.found
    assert "runworker" in finding.advice


def test_a_lease_that_ended_just_now_is_left_to_other_workers() -> None:
    put_running(new_task(), new_worker(lease="clock_timestamp() - interval '2 seconds'"))
    assert check_invariants() == []


def test_rare_heartbeats_give_others_more_time_to_notice(settings: Any) -> None:
    settings.DJQUEUE = {"HEARTBEAT": 60, "LEASE": 240}
    put_running(new_task(), new_worker(lease="now() - interval '1 minute'"))
    assert check_invariants() == []


def test_many_offenders_are_counted_and_five_are_named() -> None:
    tasks = {str(new_task()) for _ in range(8)}
    (finding,) = check_invariants()
    assert finding.found.startswith("8 task(s)")
    assert finding.found.endswith(" and 3 more.")
    assert sum(task in finding.found for task in tasks) == 5


def test_several_rules_can_be_broken_at_once() -> None:
    new_task()
    put_ready(NOWHERE)
    assert {finding.check for finding in check_invariants()} == {"tasks-nowhere", "rows-without-task"}


def test_the_invariants_can_be_asked_of_an_alias() -> None:
    new_task()
    assert check_invariants("default") == check_invariants()


def test_a_finding_cannot_be_changed() -> None:
    with pytest.raises(FrozenInstanceError):
        Finding.ok("clock", "fine").level = "error"  # type: ignore[misc]


# The database and its schema


@pytest.mark.django_db(transaction=True)
def test_a_healthy_queue_has_nothing_but_good_news() -> None:
    findings = examine()
    assert [finding for finding in findings if finding.level != "ok"] == []
    assert [finding.check for finding in findings] == [
        "settings", "connection", "version", "encoding", "migrations", "functions", "storage-parameters", "vacuum",
        "snapshots", "prepared-transactions", "notify", "clock", "workers", "schedules", "invariants",
    ]  # fmt: skip


def test_broken_settings_end_the_examination(settings: Any) -> None:
    settings.DJQUEUE = {"QUUE": 1}
    (finding,) = examine()
    assert (finding.check, finding.level) == ("settings", "error")
    assert "djqueue.E002" in finding.found


def test_another_vendor_is_no_queue() -> None:
    (finding,) = server.connects(SimpleNamespace(vendor="sqlite", alias="files"))  # type: ignore[arg-type]
    assert (finding.level, "got: sqlite" in finding.found) == ("error", True)


def test_an_unreachable_server_is_said_to_be() -> None:
    elsewhere: Any = connection.copy()
    elsewhere.settings_dict = {**elsewhere.settings_dict, "HOST": "/nowhere"}
    (finding,) = server.connects(elsewhere)
    assert finding.level == "error"
    assert finding.found.startswith("Cannot connect to 'default': ")


def test_an_old_server_is_refused() -> None:
    (finding,) = server.version(SimpleNamespace(pg_version=140011))  # type: ignore[arg-type]
    assert (finding.level, finding.found) == ("error", "Expected PostgreSQL 15 or newer, got: 14.11.")


def test_another_encoding_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_one", lambda *given: "SQL_ASCII")
    assert levels(server.encoding(connection)) == ["error"]


def test_a_migration_that_is_missing_ends_the_examination() -> None:
    sql("DELETE FROM django_migrations WHERE app = 'djqueue' AND name LIKE '0002%%'")
    last = examine()[-1]
    assert (last.check, last.level) == ("migrations", "error")
    assert "0002_functions" in last.found
    assert "migrate djqueue" in last.advice


def test_a_migration_of_another_release_is_a_warning() -> None:
    sql("INSERT INTO django_migrations (app, name, applied) VALUES ('djqueue', '0999_later', now())")
    (finding,) = schema.migrations(connection)
    assert (finding.level, "0999_later" in finding.found) == ("warning", True)


def test_a_missing_function_is_named() -> None:
    sql(f"DROP FUNCTION {PROMOTE.signature}")
    (finding,) = schema.functions(connection)
    assert finding.level == "error"
    assert PROMOTE.signature in finding.found


def test_storage_parameters_that_were_changed_are_named() -> None:
    sql("ALTER TABLE djqueue_readytask RESET (autovacuum_vacuum_threshold)")
    sql("ALTER TABLE djqueue_runningtask SET (vacuum_truncate = on)")
    ready, running = schema.storage_parameters(connection)
    assert (ready.level, running.level) == ("warning", "warning")
    assert ready.found == "djqueue_readytask is not set up with autovacuum_vacuum_threshold=5000."
    assert "ALTER TABLE djqueue_runningtask SET (vacuum_truncate=off)" in running.advice


def test_tables_that_vacuum_cannot_clean_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "DEAD_ROWS", -1)
    findings = list(server.vacuum(connection))
    assert [finding.level for finding in findings] == ["warning"] * 3
    assert "dead rows; its last vacuum was" in findings[0].found


def test_a_server_without_autovacuum_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "_one", lambda *given: "off")
    assert levels(server.vacuum(connection)) == ["warning"]


def test_an_old_snapshot_is_named_and_an_idle_transaction_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(server, "OLD_MINUTES", 0)
    given = {**parameters("default", "doctor"), "autocommit": False}
    with (
        psycopg.connect(**{**given, "application_name": "analyst"}) as analyst,
        psycopg.connect(**{**given, "application_name": "idler"}) as idler,
    ):
        analyst.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ")
        analyst.execute("SELECT count(*) FROM pg_class")
        idler.execute("SELECT 1")
        found = [finding for finding in server.snapshots(connection) if finding.level == "warning"]
        named = [finding for finding in found if f"process {analyst.info.backend_pid} (analyst" in finding.found]
        assert len(named) == 1
        assert f"pg_terminate_backend({analyst.info.backend_pid})" in named[0].advice
        assert not [finding for finding in found if "idler" in finding.found]


def test_clocks_that_differ_are_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    assert levels(server.clock(connection)) == ["ok"]
    monkeypatch.setattr(server, "time", SimpleNamespace(time=lambda: time.time() - 90))
    (finding,) = server.clock(connection)
    assert finding.level == "warning"
    assert "90.0 s behind the database's" in finding.found


# Wake-ups and workers


def test_a_wake_up_that_does_not_arrive_is_a_warning(monkeypatch: pytest.MonkeyPatch) -> None:
    """The test's transaction never commits, so what it sends arrives nowhere."""
    monkeypatch.setattr(server, "NOTIFY_SECONDS", 0.05)
    (finding,) = server.notify(connection)
    assert finding.level == "warning"
    assert "DJQUEUE['LISTEN']" in finding.advice


def test_wake_ups_are_not_tried_where_nobody_listens(settings: Any) -> None:
    settings.DJQUEUE = {"LISTEN": False}
    (finding,) = server.notify(connection)
    assert (finding.level, finding.found.startswith("Skipped")) == ("ok", True)


def test_ready_tasks_without_a_worker_are_a_warning() -> None:
    assert levels(queue_checks.workers(connection)) == ["ok"]
    put_ready(new_task())
    new_worker(lease="now() - interval '1 minute'")
    (finding,) = queue_checks.workers(connection)
    assert finding.level == "warning"
    assert finding.found == "Tasks are ready, and no worker is alive. The lease of 1 has ended."
    new_worker()
    (finding,) = queue_checks.workers(connection)
    assert (finding.level, finding.found) == (
        "ok",
        "1 alive: 1 with pool=solo processes=1 concurrency=1. The lease of 1 has ended.",
    )


def test_due_tasks_without_a_worker_are_a_warning() -> None:
    put_scheduled(new_task())
    assert levels(queue_checks.workers(connection)) == ["ok"]
    sql("UPDATE djqueue_scheduledtask SET run_at = now() - interval '1 minute'")
    (finding,) = queue_checks.workers(connection)
    assert finding.found == "Scheduled tasks are due, and no worker is alive."


def test_a_check_that_cannot_be_made_is_an_error_of_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    def forbidden_view(connection: Any) -> Iterator[Finding]:
        raise ProgrammingError("permission denied\nfor view")
        yield

    monkeypatch.setattr(doctor, "GROUPS", ((forbidden_view,),))
    finding = examine()[-1]
    assert (finding.check, finding.level) == ("forbidden-view", "error")
    assert finding.found == "This could not be checked: permission denied for view"


# The command


@pytest.fixture
def silent(settings: Any) -> None:
    """The tests' transactions send nothing, so do not try."""
    settings.DJQUEUE = {**settings.DJQUEUE, "LISTEN": False}


def run_doctor(*options: str) -> tuple[int, str]:
    out = io.StringIO()
    try:
        call_command("djqueue", "doctor", *options, stdout=out)
    except SystemExit as stopped:
        return int(stopped.code or 0), out.getvalue()
    return 0, out.getvalue()


@pytest.mark.usefixtures("silent")
class TestCommand:
    def test_a_healthy_queue_exits_with_0(self) -> None:
        code, text = run_doctor()
        assert code == 0
        assert text.endswith("\nAll is well.\n")
        assert "✓ ok       version " in text

    def test_json_is_one_object(self) -> None:
        code, text = run_doctor("--json")
        report = json.loads(text)
        assert (code, report["ok"], report["errors"], report["warnings"]) == (0, True, 0, 0)
        assert report["checks"][0] == {
            "check": "settings", "level": "ok", "found": "DJQUEUE is valid.", "advice": "",
        }  # fmt: skip

    def test_an_error_exits_with_1(self) -> None:
        task = new_task()
        code, text = run_doctor("--json")
        report = json.loads(text)
        assert (code, report["ok"], report["errors"]) == (1, False, 1)
        (finding,) = (check for check in report["checks"] if check["level"] == "error")
        assert str(task) in finding["found"]
        code, text = run_doctor()
        assert code == 1
        assert "✗ error " in text
        assert "Enqueue these tasks again" in text
        assert text.endswith("\n1 error.\n")

    def test_a_warning_exits_with_0_unless_it_may_not(self) -> None:
        put_ready(new_task())
        code, text = run_doctor()
        assert (code, "! warning  workers" in text, "1 warning." in text) == (0, True, True)
        assert run_doctor("--fail-on-warning")[0] == 1
        code, text = run_doctor("--fail-on-warning", "--json")
        assert (code, json.loads(text)["ok"]) == (1, False)

    def test_colours_only_where_they_are_wanted(self) -> None:
        assert "\x1b[" in run_doctor("--force-color")[1]
        assert "\x1b[" not in run_doctor("--no-color")[1]

    def test_broken_settings_are_reported_not_raised(self, settings: Any) -> None:
        settings.DJQUEUE = {"QUUE": 1}
        code, text = run_doctor()
        assert (code, "unknown setting DJQUEUE['QUUE']" in text) == (1, True)

    def test_the_database_can_be_named(self) -> None:
        assert run_doctor("--database", "default")[0] == 0
        with pytest.raises(CommandError, match="invalid choice: 'nowhere'"):
            run_doctor("--database", "nowhere")

    def test_an_ascii_terminal_gets_ascii_symbols(self) -> None:
        out = io.TextIOWrapper(io.BytesIO(), encoding="ascii")
        call_command("djqueue", "doctor", stdout=out)
        out.seek(0)
        assert "+ ok " in out.read()

    def test_a_subcommand_is_needed(self) -> None:
        with pytest.raises(CommandError, match="SUBCOMMAND"):
            call_command("djqueue")
