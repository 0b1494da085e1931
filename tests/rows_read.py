"""How many rows statements read: for those that are parts of blocks, or look into tables by several ways.

PostgreSQL counts the rows that a transaction has read, by index or by walking the table. Read on tables that were
never analysed, and that were analysed while they were empty, when the planner knows least.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from django.db import connection, transaction

from .conftest import Session

READ = """
SELECT sum(seq_tup_read + coalesce(idx_tup_fetch, 0))::integer
FROM pg_stat_xact_user_tables WHERE relname LIKE 'djqueue%'
"""
STATISTICS = ["never analysed", "analysed when empty", "analysed"]


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
