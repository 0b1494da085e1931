"""Repair: remove rows that contradict others, which statements by hand or a restored backup may have left.

The verbs move a task between tables in one statement, so of themselves they never leave two of these rows. Looking for
them on each claim and settlement would cost a tenth of the throughput; PostgreSQL refuses the second row anyway, and
only then is this worth a look through the tables.
"""

from __future__ import annotations

from psycopg import AsyncConnection

# A result outlasts everything, and of what is left a lease outlasts a place in line. Others are looked up one by one,
# which no statistics turn into a walk through all of them for each.
FINISHED_BUT_RUNNING = """
DELETE FROM djqueue_runningtask AS running
WHERE (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = running.task_id LIMIT 1)
"""

ELSEWHERE_BUT_READY = """
DELETE FROM djqueue_readytask AS ready
WHERE (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = ready.task_id LIMIT 1)
    OR (SELECT true FROM djqueue_runningtask AS running WHERE running.task_id = ready.task_id LIMIT 1)
"""

ELSEWHERE_BUT_PARKED = """
DELETE FROM djqueue_parkedtask AS parked
WHERE (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = parked.task_id LIMIT 1)
    OR (SELECT true FROM djqueue_runningtask AS running WHERE running.task_id = parked.task_id LIMIT 1)
"""

PARKED_BUT_READY = """
DELETE FROM djqueue_readytask AS ready
WHERE (SELECT true FROM djqueue_parkedtask AS parked WHERE parked.task_id = ready.task_id LIMIT 1)
"""

TWICE_READY = """
DELETE FROM djqueue_readytask
WHERE ctid = ANY (ARRAY(
    SELECT place
    FROM (
        SELECT ctid AS place, row_number() OVER (PARTITION BY task_id ORDER BY queue, priority, seq) AS number
        FROM djqueue_readytask
    ) AS counted
    WHERE number > 1
))
"""


async def repair(connection: AsyncConnection) -> int:
    """Remove every row that says of a task what another row contradicts; return how many."""
    removed = 0
    for statement in (FINISHED_BUT_RUNNING, ELSEWHERE_BUT_READY, ELSEWHERE_BUT_PARKED, PARKED_BUT_READY, TWICE_READY):
        removed += (await connection.execute(statement)).rowcount
    return removed
