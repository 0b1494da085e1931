"""The plans of the hot statements, on tables that are empty, never analysed and a million rows long.

A plan may differ with the statistics, the size and the version of PostgreSQL. These may not: the statements run in
functions that pin them, so there is one plan, by the index that each was written for.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from django.db import connection, transaction
from django.db.backends.utils import CursorWrapper

from djqueue.store.advance import ADVANCE
from djqueue.store.claim import CLAIM
from djqueue.store.conclude import CONCLUDE
from djqueue.store.divert import DIVERT
from djqueue.store.floor import LOWEST
from djqueue.store.follow import FOLLOW
from djqueue.store.functions import PINS, Function
from djqueue.store.gates import ADMIT, VACATE
from djqueue.store.insert import INSERT_READY
from djqueue.store.lanes import GAPS
from djqueue.store.lose import LOSE
from djqueue.store.pace import PACE
from djqueue.store.plant import PLANT
from djqueue.store.promote import PROMOTE
from djqueue.store.release import RELEASE
from djqueue.store.retry import RETRY
from djqueue.store.settle import SETTLE
from djqueue.store.unique import ADD, UNIQUE
from djqueue.store.values import REPR, VALUES

LEAN_SETTLE = replace(SETTLE, statement=SETTLE.lean[1], lean=None)
"""What SETTLE does where nothing failed and nothing is to be forgotten."""

# Which index of which table each statement may read. A table that is only written to is not read at all.
INDEXES: dict[Function, set[str]] = {
    CLAIM: {
        "djqueue_taskgroup_pkey",
        "djqueue_readytask_pkey",
        "djqueue_task_pkey",
        "djqueue_worker_pkey",
        "djqueue_taskattempt_pkey",
        "djqueue_cancelledtask_pkey",
        "djqueue_ratelimit_kind_name_key",
    },
    DIVERT: {"djqueue_readytask_pkey", "djqueue_task_pkey", "djqueue_ratelimit_kind_name_key"},
    RETRY: {"djqueue_runningtask_pkey", "djqueue_task_pkey"},
    SETTLE: {"djqueue_runningtask_pkey", "djqueue_task_pkey", "djqueue_taskattempt_pkey"},
    LEAN_SETTLE: {"djqueue_runningtask_pkey"},
    RELEASE: {"djqueue_runningtask_pkey", "djqueue_task_pkey"},
    LOSE: {"djqueue_runningtask_pkey", "djqueue_task_pkey", "djqueue_taskattempt_pkey"},
    PROMOTE: {"djqueue_scheduledtask_pkey", "djqueue_task_pkey"},
    GAPS: {"djqueue_readytask_pkey"},
    LOWEST: {"djqueue_readytask_pkey"},
}
INSTALLED = [function for function in INDEXES if function is not LEAN_SETTLE]
# Those that are several statements: tests/test_workflows_store.py counts what they read.
PROCEDURES = (INSERT_READY, PLANT)
BLOCKS = (FOLLOW, ADVANCE, CONCLUDE, REPR, VALUES, ADMIT, VACATE, PACE, ADD, UNIQUE)
TABLES = (
    "task",
    "readytask",
    "runningtask",
    "scheduledtask",
    "taskresult",
    "taskattempt",
    "cancelledtask",
    "taskgroup",
    "ratelimit",
    "parkedtask",
)
NAMES = [f"plans.djqueue_{table}" for table in TABLES]

# Keys that grow with the row, as those of real tasks do.
ID = "lpad(to_hex(n), 32, '0')::uuid"
FILL = """
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs)
    SELECT {id}, 't', 'q', 0, '[]', '{{}}' FROM generate_series(1, {many}) AS n;
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
    SELECT 'q' || n % 10, n % 3, {id}, 0 FROM generate_series(1, {many}) AS n;
INSERT INTO djqueue_runningtask (task_id, attempt, worker_id, claimed_at)
    SELECT {id}, 1, n % 20, now() FROM generate_series(1, {some}) AS n;
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT now() + make_interval(secs => n), {id}, 0, 1 FROM generate_series(1, {some}) AS n;
INSERT INTO djqueue_taskattempt (task_id, attempt, outcome, worker, error, finished_at)
    SELECT {id}, 1, 9, 'w', '{{}}', now() FROM generate_series(1, {some}) AS n;
"""

functions = pytest.mark.parametrize("function", INDEXES, ids=lambda function: function.name)


def nodes(plan: dict[str, Any]) -> Iterator[dict[str, Any]]:
    yield plan
    for child in plan.get("Plans", []):
        yield from nodes(child)


def explain(cursor: CursorWrapper, function: Function) -> list[dict[str, Any]]:
    """Return the nodes of the plan that the function's statement gets under its pins."""
    with transaction.atomic():
        for name, value in PINS.items():
            cursor.execute(f"SET LOCAL {name} = {value}")
        cursor.execute(f"PREPARE hot ({', '.join(function.arguments)}) AS {function.statement}")
        arguments = ", ".join(f"NULL::{kind}" for kind in function.arguments)
        cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE hot ({arguments})")
        plan = cursor.fetchone()[0][0]["Plan"]
        cursor.execute("DEALLOCATE hot")
        transaction.set_rollback(True)
    return list(nodes(plan))


def assert_as_intended(function: Function, plan: list[dict[str, Any]]) -> None:
    kinds = {node["Node Type"] for node in plan}
    assert not kinds & {
        "Sort",
        "Incremental Sort",
        "Bitmap Heap Scan",
        "Bitmap Index Scan",
        "Hash Join",
        "Merge Join",
    }
    assert {node["Index Name"] for node in plan if "Index Name" in node} == INDEXES[function]
    for node in plan:
        if node["Node Type"] == "Seq Scan":
            raise AssertionError(f"{node['Relation Name']} is read as a whole")
        if node["Node Type"].startswith("Index"):
            assert "Index Cond" in node, f"{node['Index Name']} is walked from end to end"
        if node["Node Type"] == "Tid Scan":
            assert "TID Cond" in node


@pytest.fixture
def cursor(db: None) -> Iterator[CursorWrapper]:
    with connection.cursor() as cursor:
        yield cursor


@pytest.fixture
def tables(cursor: CursorWrapper) -> CursorWrapper:
    """Copies of the tables, in a schema of their own that goes away with the test's transaction."""
    cursor.execute("CREATE SCHEMA plans")
    for table in TABLES:
        cursor.execute(f"CREATE UNLOGGED TABLE plans.djqueue_{table} (LIKE djqueue_{table} INCLUDING ALL)")
    cursor.execute("SET LOCAL search_path = plans, public")
    return cursor


@functions
def test_on_tables_that_were_never_analysed(tables, function):
    assert_as_intended(function, explain(tables, function))


@functions
def test_on_tables_that_were_analysed_when_empty(tables, function):
    for table in TABLES:
        tables.execute(f"ANALYZE djqueue_{table}")
    assert_as_intended(function, explain(tables, function))


@functions
def test_on_tables_that_filled_up_after_they_were_analysed_when_empty(tables, function):
    for table in TABLES:
        tables.execute(f"ANALYZE djqueue_{table}")
    tables.execute(FILL.format(id=ID, many=20_000, some=20_000))
    assert_as_intended(function, explain(tables, function))


@functions
def test_on_tables_that_filled_up_after_they_were_analysed_when_emptied(tables, function):
    """A table that has pages and no rows, as when all is done, is taken for one of one row, whatever it becomes."""
    tables.execute("UPDATE pg_class SET relpages = 1, reltuples = 0 WHERE oid = ANY (%s::regclass[])", [NAMES])
    tables.execute(FILL.format(id=ID, many=20_000, some=20_000))
    assert_as_intended(function, explain(tables, function))


def test_on_tables_of_a_million_rows(tables):
    """One test, because the rows take seconds to make."""
    tables.execute(FILL.format(id=ID, many=1_000_000, some=50_000))
    for function in INDEXES:
        assert_as_intended(function, explain(tables, function))
    for table in TABLES:
        tables.execute(f"ANALYZE djqueue_{table}")
    for function in INDEXES:
        assert_as_intended(function, explain(tables, function))


@functions
def test_without_the_pins_the_test_would_notice(tables, function):
    """What the pins are for: an unpinned plan on empty tables reads, sorts or joins otherwise."""
    for table in TABLES:
        tables.execute(f"ANALYZE djqueue_{table}")
    tables.execute("PREPARE cold ({}) AS {}".format(", ".join(function.arguments), function.statement))
    tables.execute("SET LOCAL plan_cache_mode = force_generic_plan")
    tables.execute(
        "EXPLAIN (FORMAT JSON) EXECUTE cold ({})".format(", ".join(f"NULL::{k}" for k in function.arguments))
    )
    plan = list(nodes(tables.fetchone()[0][0]["Plan"]))
    tables.execute("DEALLOCATE cold")
    with pytest.raises(AssertionError):
        assert_as_intended(function, plan)


class TestInstalledFunctions:
    @pytest.mark.parametrize("function", INSTALLED, ids=lambda function: function.name)
    def test_the_installed_function_is_the_one_in_the_code_and_pinned(self, cursor, function):
        cursor.execute(
            "SELECT prosrc, proconfig, pg_get_function_identity_arguments(oid), pg_get_function_result(oid)"
            " FROM pg_proc WHERE proname = %s",
            [function.name],
        )
        ((source, pins, arguments, returns),) = cursor.fetchall()
        assert source == f"\n#variable_conflict use_column\nBEGIN {function.query}\nEND\n"
        assert dict(pin.split("=", 1) for pin in pins) == PINS
        assert arguments == ", ".join(function.arguments)
        assert returns == f"TABLE({function.returns})"

    @pytest.mark.parametrize("procedure", PROCEDURES, ids=lambda procedure: procedure.verb)
    def test_the_installed_procedure_is_the_one_in_the_code(self, cursor, procedure):
        cursor.execute(
            "SELECT prosrc, prokind, pg_get_function_identity_arguments(oid) FROM pg_proc WHERE proname = %s",
            [procedure.name],
        )
        ((source, kind, arguments),) = cursor.fetchall()
        assert source == f"\nBEGIN\n{procedure.statements}\nEND\n"
        assert kind == "p"
        assert arguments.replace("IN ", "") == ", ".join(procedure.arguments)

    def test_every_function_of_the_app_is_covered_here(self, cursor):
        cursor.execute("SELECT proname FROM pg_proc WHERE proname LIKE 'djqueue%%'")
        covered = {routine.name for routine in (*INSTALLED, *BLOCKS, *PROCEDURES)}
        assert {name for (name,) in cursor.fetchall()} == covered

    def test_no_hot_table_has_an_index_or_constraint_beyond_what_is_named_here(self, cursor):
        """A spare index is what a planner without statistics would choose, and what each task would pay for."""
        cursor.execute(
            "SELECT tablename, count(*) FROM pg_indexes WHERE tablename = ANY (%s) GROUP BY tablename",
            [[f"djqueue_{table}" for table in TABLES]],
        )
        indexes = dict(cursor.fetchall())
        assert indexes == {
            "djqueue_cancelledtask": 1,
            "djqueue_parkedtask": 3,
            "djqueue_ratelimit": 2,
            "djqueue_readytask": 1,
            "djqueue_runningtask": 2,
            "djqueue_scheduledtask": 3,  # one of them holds only what a pause has put off
            "djqueue_task": 4,  # three of them hold only what belongs to a workflow or has a parent
            "djqueue_taskattempt": 1,
            "djqueue_taskgroup": 3,
            "djqueue_taskresult": 3,
        }
        # Bindings are edited by hand, and never on the way of a task.
        cursor.execute(
            "SELECT conname FROM pg_constraint"
            " WHERE contype = 'f' AND conname LIKE 'djqueue%%' AND conname NOT LIKE 'djqueue_binding%%'"
        )
        assert cursor.fetchall() == []

    @pytest.mark.parametrize("table", ["readytask", "scheduledtask", "runningtask", "parkedtask", "concurrencyslot"])
    def test_narrow_tables_are_vacuumed_by_number_of_rows_and_never_truncated(self, cursor, table):
        cursor.execute("SELECT reloptions FROM pg_class WHERE relname = %s", [f"djqueue_{table}"])
        options = dict(option.split("=") for option in cursor.fetchone()[0])
        assert options["autovacuum_vacuum_scale_factor"] == "0"
        assert options["autovacuum_vacuum_threshold"] == "5000"
        assert options["autovacuum_vacuum_cost_delay"] == "0"
        assert options["vacuum_truncate"] == "off"
