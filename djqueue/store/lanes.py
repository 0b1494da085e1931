"""Lanes: which queues and priorities have tasks in line, without walking the line."""

from __future__ import annotations

from collections.abc import Collection

from psycopg import AsyncConnection

from djqueue.records import Lane
from djqueue.routing import line_of

from .functions import Function

# Why this shape. `SELECT DISTINCT queue` reads the whole line. Looking only into the gaps between the lanes that are
# known costs one index probe a gap, and never meets the dead index entries that claims leave behind in a known lane.
GAPS = Function(
    verb="lanes",
    arguments=("text[]", "smallint[]", "text[]", "smallint[]"),
    returns="queue text, priority smallint",
    statement="""
SELECT found.queue, found.priority
FROM unnest($1, $2, $3, $4) AS gap (low_queue, low_priority, high_queue, high_priority)
CROSS JOIN LATERAL (
    SELECT ready.queue, ready.priority
    FROM djqueue_readytask AS ready
    WHERE (ready.queue, ready.priority) > (gap.low_queue, gap.low_priority)
        AND (ready.queue, ready.priority) < (gap.high_queue, gap.high_priority)
    ORDER BY ready.queue, ready.priority, ready.seq
    LIMIT 1
) AS found
""",
)

CALL = f"SELECT queue, priority FROM {GAPS.name}(%s::text[], %s::smallint[], %s::text[], %s::smallint[])"

BEFORE_ALL = ("", -32768)
AFTER_ALL = ("\U0010ffff", 32767)

REGISTER = "INSERT INTO djqueue_queue (name) SELECT unnest(%s::text[]) ON CONFLICT (name) DO NOTHING"


async def discover(connection: AsyncConnection, known: Collection[tuple[str, int]]) -> list[Lane]:
    """Return lanes with tasks in line that are not among ``known`` (pairs of queue and priority)."""
    found: list[Lane] = []
    seen = set(known)
    while True:
        borders = [BEFORE_ALL, *sorted(seen), AFTER_ALL]
        low, high = borders[:-1], borders[1:]
        cursor = await connection.execute(
            CALL, ([b[0] for b in low], [b[1] for b in low], [b[0] for b in high], [b[1] for b in high])
        )
        new = [Lane(queue, priority) for queue, priority in await cursor.fetchall()]
        if not new:
            break
        found += new
        seen.update((lane.queue, lane.priority) for lane in new)
    if found:
        await connection.execute(REGISTER, (sorted({line_of(lane.queue) for lane in found}),))
    return found
