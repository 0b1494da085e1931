"""How many rows statements read: for those that are parts of blocks, or look into tables by several ways.

PostgreSQL counts the rows that a transaction has read, by index or by walking the table. Read on tables that were
never analysed, and that were analysed while they were empty, when the planner knows least: it takes a table that was
new then for one of its present size, whose values it does not know, and one that had been emptied, as queues are, for
one row, however large it has become.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from django.db import connection, transaction

from .conftest import Session

READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::integer
FROM pg_stat_xact_user_tables WHERE relname LIKE 'djqueue%'
"""
# Pages and rows of every table, as the planner finds them noted. Set and not brought about: what an ANALYZE in a test
# notes outlives its transaction, and how many pages an empty table has is the doing of the tests before.
NOTED = {"never analysed": (0, -1), "analysed when new": (0, 0), "analysed when emptied": (1, 0)}
STATISTICS = [*NOTED, "analysed"]
TABLES = "FROM pg_class WHERE relkind = 'r' AND relname LIKE 'djqueue%'"


@contextmanager
def statistics(name: str, execute: Callable[[str], object]) -> Iterator[None]:
    """Fill the tables within; ``execute`` a statement makes the planner know of them what ``name`` says.

    Outside of transactions: autovacuum, which notes the same, would wait for its end, and it for autovacuum.
    """
    pages, rows = NOTED.get(name, NOTED["never analysed"])
    execute(f"UPDATE pg_class SET relpages = {pages}, reltuples = {rows} WHERE oid IN (SELECT oid {TABLES})")
    execute(f"DELETE FROM pg_statistic WHERE starelid IN (SELECT oid {TABLES})")
    yield
    if name == "analysed":
        execute("ANALYZE")


def execute(statement: str) -> None:
    """Run a statement on Django's connection, in a transaction of its own."""
    assert not connection.in_atomic_block
    with connection.cursor() as cursor:
        cursor.execute(statement)


def by_verb(session: Session, verb: Any, *arguments: Any) -> int:
    """Return how many rows a verb of the store reads."""
    session.sql("BEGIN")
    before = session.value(READ)
    session(verb, *arguments)
    read = session.value(READ) - before
    session.sql("COMMIT")
    return int(read)


def by_call(call: Callable[[], object]) -> int:
    """Return how many rows a call reads on Django's connection."""
    with transaction.atomic(), connection.cursor() as cursor:
        cursor.execute(READ.replace("%", "%%"), ())
        before = cursor.fetchone()[0]
        call()
        cursor.execute(READ.replace("%", "%%"), ())
        return int(cursor.fetchone()[0] - before)


def by_call_outside(session: Session, call: Callable[[], object]) -> int:
    """Return how many rows a call reads on Django's connection in transactions of its own.

    Those are counted for all connections, so what ``session`` has read before is reported first.
    """
    assert not connection.in_atomic_block
    flush, everybody = "SELECT pg_stat_force_next_flush()", READ.replace("pg_stat_xact_user", "pg_stat_user")
    execute(flush)
    session.sql(flush)
    before = session.value(everybody)
    call()
    execute(flush)
    return int(session.value(everybody) - before)
