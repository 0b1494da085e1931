"""Rates: which rate limits there are."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from djqueue.limits import parse_rate

# Why this shape. What is parked may wait for a token that came hours later at the old rate; each gate is looked at once
# more. Also one that is due: who gives its tokens out just now may do so at the old rate, and is waited for. The index
# holds only the gates at which tasks are parked. They are locked in the order in which all others do.
WAKE = """
UPDATE djqueue_rategate SET wakes_at = clock_timestamp()
WHERE gate = ANY (ARRAY(
    SELECT known.gate FROM djqueue_rategate AS known
    WHERE known.kind = %(kind)s AND known.name = ANY (%(names)s) AND known.wakes_at IS NOT NULL
    ORDER BY known.gate
    FOR UPDATE
))
"""

DECLARE = """
INSERT INTO djqueue_ratelimit AS known (kind, name, declared, rate, strict, per_second)
SELECT 1, given.name, given.declared, '', given.strict, given.per_second
FROM unnest(%s::text[], %s::text[], %s::boolean[], %s::double precision[])
    AS given (name, declared, strict, per_second)
ORDER BY given.name
ON CONFLICT (kind, name) DO UPDATE
SET declared = excluded.declared, strict = excluded.strict, changed_at = clock_timestamp(),
    per_second = CASE WHEN known.rate = '' THEN excluded.per_second ELSE known.per_second END
WHERE (known.declared, known.strict) IS DISTINCT FROM (excluded.declared, excluded.strict)
RETURNING name
"""

# What the code of a task no longer declares.
RETRACT = """
UPDATE djqueue_ratelimit
SET declared = '', strict = false, changed_at = clock_timestamp(),
    per_second = CASE WHEN rate = '' THEN NULL ELSE per_second END
WHERE kind = 1 AND name = ANY (%s) AND declared <> ''
RETURNING name
"""

SET = """
INSERT INTO djqueue_ratelimit AS known (kind, name, declared, rate, strict, per_second)
VALUES (%(kind)s, %(name)s, '', %(rate)s, coalesce(%(strict)s, false), %(per_second)s)
ON CONFLICT (kind, name) DO UPDATE
SET rate = excluded.rate, strict = coalesce(%(strict)s, known.strict), changed_at = clock_timestamp(),
    per_second = excluded.per_second
RETURNING id, declared
"""
FALL_BACK = "UPDATE djqueue_ratelimit SET per_second = %s WHERE id = %s"


def set_rate(cursor: CursorWrapper, kind: int, name: str, rate: str, *, strict: bool | None = None) -> None:
    """Set the rate limit of a task (``kind`` 1) or a queue (2).

    It acts on what is parked when ``wake_parked`` has been called after the commit. An empty ``rate`` means that what
    the code declares holds. ``strict=None`` leaves that as it is.
    """
    values: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "rate": rate,
        "strict": strict,
        "per_second": parse_rate(rate) if rate else None,
    }
    cursor.execute(SET, values)
    id, declared = cursor.fetchone()
    if not rate and declared:
        cursor.execute(FALL_BACK, (parse_rate(declared), id))


def wake_parked(cursor: CursorWrapper, kind: int, name: str) -> None:
    """Have the gates of a limit looked at anew, because it has changed.

    Call it in no long transaction: claims of limited tasks would wait for it.
    """
    cursor.execute(WAKE, {"kind": kind, "names": [name]})


async def declare_rates(connection: AsyncConnection, declared: Mapping[str, tuple[str, bool] | None]) -> None:
    """Store what definitions declare: for the name of each task its rate limit and whether that is strict, or None."""
    limits = {name: limit for name, limit in declared.items() if limit is not None}
    async with connection.transaction():
        changed = []
        if limits:
            names = sorted(limits)
            texts, strict = [limits[name][0] for name in names], [limits[name][1] for name in names]
            cursor = await connection.execute(DECLARE, (names, texts, strict, [parse_rate(text) for text in texts]))
            changed += [row[0] for row in await cursor.fetchall()]
        cursor = await connection.execute(RETRACT, (sorted(declared.keys() - limits.keys()),))
        changed += [row[0] for row in await cursor.fetchall()]
        if changed:
            await connection.execute(WAKE, {"kind": 1, "names": changed})
