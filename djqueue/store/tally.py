"""Tally: how many attempts ended how, by minute, task and queue; appended, and folded into fewer rows later.

Each attempt is in exactly one row, and rows of one key add up, so whoever reads sums them and need not know how far
they were folded. Rows are only inserted and deleted: none is updated, so no worker waits for another.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from psycopg import AsyncConnection

from djqueue.records import Tallied

FOLDS = ((1, 60), (15, 2 * 3600), (60, 25 * 3600))
"""To how many minutes rows are folded, and how many seconds ago these began."""
BATCH = 20_000
RESOLUTIONS = (0, *(minutes for minutes, _ in FOLDS))
"""Minutes that a row can stand for; 0 is what a worker has just appended."""

APPEND = """
INSERT INTO djqueue_statistic
    (at, resolution, name, queue, succeeded, failed, retried, cancelled, steps, counts)
SELECT to_timestamp(minute * 60), 0, name, queue, succeeded, failed, retried, cancelled, steps, counts
FROM jsonb_to_recordset(%s::jsonb) AS tallied (
    minute bigint, name text, queue text, succeeded integer, failed integer, retried integer, cancelled integer,
    steps integer[], counts integer[]
)
"""

# Why this shape. One statement moves rows, so that no reader sees an attempt twice or not at all. Of several
# workers that come at once only one gets the lock, for this statement; another that waited for nothing is not late.
# What is cut off by the limit makes a second row of its key, which adds up as well.
FOLD = """
WITH turn AS MATERIALIZED (
    SELECT pg_try_advisory_xact_lock(hashtext('djqueue_statistic'), %(minutes)s) AS got
),
gone AS (
    DELETE FROM djqueue_statistic
    WHERE ctid = ANY (ARRAY(
        SELECT ctid FROM djqueue_statistic
        WHERE resolution = ANY (%(finer)s::smallint[])
            AND at < statement_timestamp() - make_interval(secs => %(age)s)
            AND (SELECT got FROM turn)
        LIMIT %(limit)s
    ))
    RETURNING
        date_bin(make_interval(mins => %(minutes)s), at, 'epoch'::timestamptz) AS at,
        name, queue, succeeded, failed, retried, cancelled, lost, steps, counts
),
summed AS (
    SELECT
        at, name, queue, sum(succeeded) AS succeeded, sum(failed) AS failed, sum(retried) AS retried,
        sum(cancelled) AS cancelled, sum(lost) AS lost
    FROM gone
    GROUP BY at, name, queue
),
step AS (
    SELECT gone.at, gone.name, gone.queue, one.step, sum(one.count) AS count
    FROM gone CROSS JOIN LATERAL unnest(gone.steps, gone.counts) AS one (step, count)
    GROUP BY gone.at, gone.name, gone.queue, one.step
),
histogram AS (
    SELECT at, name, queue, array_agg(step ORDER BY step) AS steps, array_agg(count ORDER BY step) AS counts
    FROM step
    GROUP BY at, name, queue
),
folded AS (
    INSERT INTO djqueue_statistic
        (at, resolution, name, queue, succeeded, failed, retried, cancelled, lost, steps, counts)
    SELECT
        at, %(minutes)s, name, queue, succeeded, failed, retried, cancelled, lost, histogram.steps, histogram.counts
    FROM summed LEFT JOIN histogram USING (at, name, queue)
    ORDER BY at, name, queue
)
SELECT count(*) FROM gone
"""

PRUNE = """
DELETE FROM djqueue_statistic
WHERE resolution = ANY (%s::smallint[]) AND at < statement_timestamp() - make_interval(secs => %s)
"""


async def append(connection: AsyncConnection, rows: Sequence[Tallied]) -> None:
    """Add what a worker has counted since it last did."""
    await connection.execute(APPEND, (json.dumps([row._asdict() for row in rows], ensure_ascii=False),))


async def fold(connection: AsyncConnection, folds: Sequence[tuple[int, float]] = FOLDS, limit: int = BATCH) -> int:
    """Fold rows that are old enough into coarser ones; return how many there were to fold, up to ``limit`` each."""
    folded = 0
    for minutes, age in folds:
        finer = [resolution for resolution in RESOLUTIONS if resolution < minutes]
        values = {"minutes": minutes, "finer": finer, "age": age, "limit": limit}
        row: Any = await (await connection.execute(FOLD, values)).fetchone()
        folded += row[0]
    return folded


async def prune_statistics(connection: AsyncConnection, kept: float) -> None:
    """Delete what ended longer ago than ``kept`` seconds."""
    await connection.execute(PRUNE, (list(RESOLUTIONS), kept))
