"""The floor: a sequence number below which a lane is empty for good.

Claimed rows leave index entries behind that vacuum removes, unless somebody holds an old snapshot. A claim that walks
them gets slower with every task done: 118 to 246 ms behind 990,000 of them, 1.1 ms with a lower bound on ``seq``.

How it is found (the order matters):

1. read the next sequence number, the *cut*;
2. remember the transactions that hold ``RowExclusiveLock`` on the line: only they can still commit a row below the
   cut, because a row draws its number after its transaction took that lock;
3. when all of them have ended, take for each lane the lowest row at or above its old floor, or the cut if there is
   none, in a fresh snapshot.

Rows that come back in line draw a new number, so nothing ever appears below the cut. Read-only transactions, however
long, hold no such lock and delay nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from psycopg import AsyncConnection

from djqueue.records import Lane

from .functions import Function

CUT = "SELECT CASE WHEN is_called THEN last_value + 1 ELSE last_value END FROM djqueue_readytask_seq"

WRITERS = """
SELECT DISTINCT virtualtransaction
FROM pg_locks
WHERE relation = 'djqueue_readytask'::regclass AND mode = 'RowExclusiveLock' AND pid IS DISTINCT FROM pg_backend_pid()
"""

# Why this shape. One primary key probe a lane, bounded below by the old floor, so each dead entry is walked once more
# at the most.
LOWEST = Function(
    verb="floors",
    arguments=("text[]", "smallint[]", "bigint[]", "bigint"),
    returns="queue text, priority smallint, floor bigint",
    statement="""
SELECT lane.queue, lane.priority, coalesce(
    (
        SELECT ready.seq
        FROM djqueue_readytask AS ready
        WHERE ready.queue = lane.queue AND ready.priority = lane.priority
            AND ready.seq >= lane.floor AND ready.seq < $4
        ORDER BY ready.queue, ready.priority, ready.seq
        LIMIT 1
    ), $4)
FROM unnest($1, $2, $3) AS lane (queue, priority, floor)
""",
)

CALL = f"SELECT queue, priority, floor FROM {LOWEST.name}(%s::text[], %s::smallint[], %s::bigint[], %s)"


class Cut(NamedTuple):
    """A sequence number, and the transactions that may still commit rows below it."""

    seq: int
    writers: frozenset[str]


async def cut(connection: AsyncConnection) -> Cut:
    """Steps 1 and 2. The connection must be in autocommit: each statement needs its own snapshot."""
    row = await (await connection.execute(CUT)).fetchone()
    assert row is not None
    return Cut(row[0], await _writers(connection))


async def raise_floors(connection: AsyncConnection, lanes: Sequence[Lane], cut: Cut) -> list[Lane] | None:
    """Step 3: return the lanes with their new floors, or None while a remembered transaction is still open."""
    if cut.writers and cut.writers & await _writers(connection):
        return None
    cursor = await connection.execute(
        CALL,
        ([lane.queue for lane in lanes], [lane.priority for lane in lanes], [lane.floor for lane in lanes], cut.seq),
    )
    return [Lane(*row) for row in await cursor.fetchall()]


async def _writers(connection: AsyncConnection) -> frozenset[str]:
    return frozenset(row[0] for row in await (await connection.execute(WRITERS)).fetchall())
