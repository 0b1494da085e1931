"""Guarantees: what the executor of a task that runs at most once, or exactly once, says to the database by itself.

All other tasks run at least once, and only their worker speaks of them. These statements run on the Django connection
of the task.
"""

from __future__ import annotations

from django.db.backends.utils import CursorWrapper

from djqueue.records import Outcome

from .conclude import CONCLUDE
from .settle import SETTLE

# Fenced like settling. Committed before the task starts, and waiting for the disk: from now on, losing the attempt or
# giving it back fails the task.
MARK = """
UPDATE djqueue_runningtask SET once = true
WHERE task_id = %s AND attempt = %s AND worker_id = %s
"""

HELD = "SELECT FROM djqueue_runningtask WHERE task_id = %s AND attempt = %s AND worker_id = %s"

# The database's clock dates it, since only the worker knows how that of this machine differs.
SETTLE_ONE = f"""
SELECT settled.id
FROM (SELECT extract(epoch FROM clock_timestamp())::double precision AS epoch) AS now
CROSS JOIN LATERAL {SETTLE.name}(
    %s, %s, ARRAY[%s]::uuid[], ARRAY[%s]::integer[], ARRAY[%s]::smallint[], %s::jsonb, '{{}}'::jsonb,
    ARRAY[now.epoch - %s]::double precision[], ARRAY[now.epoch]::double precision[]
) AS settled (id)
"""
# What waits for it goes on in the same transaction.
CONCLUDE_ONE = SETTLE_ONE.replace(SETTLE.name, CONCLUDE.name)


def mark_started(cursor: CursorWrapper, worker_id: int, task_id: str, attempt: int) -> bool:
    """Note that an attempt starts that is never to be repeated by itself; False if the worker holds it no longer."""
    cursor.execute(MARK, (task_id, attempt, worker_id))
    return bool(cursor.rowcount)


def is_held(cursor: CursorWrapper, worker_id: int, task_id: str, attempt: int) -> bool:
    """Whether the worker holds the attempt, which it does until the attempt is settled."""
    cursor.execute(HELD, (task_id, attempt, worker_id))
    return cursor.fetchone() is not None


def settle_own(
    cursor: CursorWrapper, worker_id: int, worker_name: str, outcome: Outcome, *, concerns_others: bool = False
) -> bool:
    """Store how an attempt ended as part of the cursor's transaction; False if the worker holds it no longer.

    ``started`` and ``finished`` of the outcome are only read for their difference, in seconds.
    """
    assert outcome.started is not None
    cursor.execute(
        CONCLUDE_ONE if concerns_others else SETTLE_ONE,
        (
            worker_id,
            worker_name,
            outcome.id,
            outcome.attempt,
            int(outcome.ending),
            f"[{outcome.value or 'null'}]",
            outcome.finished - outcome.started,
        ),
    )
    return cursor.fetchone() is not None
