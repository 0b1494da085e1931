"""Patrol: set right what a crash, or rows deleted by hand, left of limits, and let go what has expired.

A worker that dies between parking a task and looking whether it may pass leaves it parked. A slot whose task was
deleted is nobody's. Neither can happen otherwise, so this looks rarely, and only at a part each time.
"""

from __future__ import annotations

from psycopg import AsyncConnection

from djqueue.limits import MOST_SLOTS, STREAM
from djqueue.routing import FRONT

from .functions import PINNED
from .gates import admit, vacate

BATCH = 500
"""Gates, slots or tasks to look at in one statement."""
SLOTS = BATCH + MOST_SLOTS
"""Slots to look at in one statement: more than those of one gate."""
IDLE = 60.0
"""Seconds after which what is known of the tokens of a gate is forgotten, if it is not used."""

# Nobody is to wait for a token only to be told that it is too late: the worker that claims the task ends it. Tasks are
# looked up one by one: for the few that are late a join may be planned as a walk through all tasks.
EXPIRED = f"""
WITH late AS (
    DELETE FROM djqueue_parkedtask
    WHERE ctid = ANY (ARRAY(
        SELECT parked.ctid FROM djqueue_parkedtask AS parked
        WHERE parked.expires_at <= statement_timestamp()
        ORDER BY parked.expires_at
        LIMIT %s
        FOR UPDATE SKIP LOCKED
    ))
    RETURNING task_id, attempt
)
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT task.queue || '{FRONT}', task.priority, task.id, late.attempt
FROM late
CROSS JOIN LATERAL (SELECT id, queue, priority FROM djqueue_task WHERE id = late.task_id LIMIT 1) AS task
"""

# Whose attempt is scheduled or waits for others has given its slot back, unless it is one of an ordered stream. There
# are as many slots as tasks that have passed, which may be a backlog of as many keys, so they are looked at by the
# page; EXISTS could be planned as a walk through all results.
OWNERLESS = """
WITH page AS MATERIALIZED (
    SELECT gate, task_id FROM djqueue_concurrencyslot WHERE gate > %(after)s ORDER BY gate, number LIMIT %(limit)s
)
SELECT page.gate, page.task_id::text,
    (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = page.task_id LIMIT 1) IS NOT NULL
    OR (SELECT true FROM djqueue_task AS task WHERE task.id = page.task_id LIMIT 1) IS NULL
    OR page.gate NOT LIKE 'stream %%' AND coalesce(
        (SELECT true FROM djqueue_scheduledtask AS place WHERE place.task_id = page.task_id LIMIT 1),
        (SELECT true FROM djqueue_waitingtask AS place WHERE place.task_id = page.task_id LIMIT 1),
        (SELECT place.gate = page.gate FROM djqueue_parkedtask AS place WHERE place.task_id = page.task_id LIMIT 1),
        false
    )
FROM page
"""

# Why this shape. `SELECT DISTINCT gate` would read every parked task; one probe of the primary key finds the next gate.
STUCK = """
WITH RECURSIVE walk (gate, number) AS (
    (
        SELECT gate, 1 FROM djqueue_parkedtask WHERE gate > %(after)s ORDER BY gate, rank, seq LIMIT 1
    )
    UNION ALL
    SELECT (
        SELECT parked.gate FROM djqueue_parkedtask AS parked
        WHERE parked.gate > walk.gate ORDER BY parked.gate, parked.rank, parked.seq LIMIT 1
    ), walk.number + 1
    FROM walk
    WHERE walk.gate IS NOT NULL AND walk.number <= %(limit)s
)
SELECT walk.gate, CASE
    WHEN walk.gate LIKE 'task %%' OR walk.gate LIKE 'queue %%' THEN (
        SELECT known.wakes_at FROM djqueue_rategate AS known WHERE known.gate = walk.gate LIMIT 1
    ) IS NULL
    ELSE (SELECT count(*) FROM djqueue_concurrencyslot AS slot WHERE slot.gate = walk.gate) < (
        SELECT parked.slots FROM djqueue_parkedtask AS parked
        WHERE parked.gate = walk.gate ORDER BY parked.gate, parked.rank, parked.seq LIMIT 1
    )
END
FROM walk
WHERE walk.gate IS NOT NULL
"""

# A task of a stream that was resumed by hand, or whose ticket was deleted, gets a new one.
TICKETS = """
INSERT INTO djqueue_streamticket (gate, task_id)
SELECT bare.gate, parked.task_id
FROM (
    SELECT gate FROM unnest(%s::text[]) AS given (gate)
    WHERE NOT EXISTS (SELECT FROM djqueue_streamticket AS ticket WHERE ticket.gate = given.gate)
) AS bare
CROSS JOIN LATERAL (
    SELECT task_id FROM djqueue_parkedtask WHERE gate = bare.gate ORDER BY gate, rank, seq LIMIT %s
) AS parked
"""

FORGET = """
DELETE FROM djqueue_rategate
WHERE gate = ANY (ARRAY(
    SELECT idle.gate FROM djqueue_rategate AS idle
    WHERE idle.wakes_at IS NULL AND idle.free_at < statement_timestamp() - make_interval(secs => %s)
    ORDER BY idle.free_at
    LIMIT %s
    FOR UPDATE SKIP LOCKED
))
"""


async def let_expired_go(connection: AsyncConnection) -> int:
    """Put parked tasks that have expired in front of their lines, where they end; return how many."""
    return (await connection.execute(EXPIRED, (BATCH,))).rowcount


async def patrol(connection: AsyncConnection, after: str = "") -> str:
    """Look at some slots and gates after the one named ``after``; return the last one, or an empty string at the end.

    Call it again with what it returned, to look at the next ones.
    """
    async with connection.transaction():
        await connection.execute(PINNED)
        page = {"after": after, "limit": SLOTS}
        slots = await (await connection.execute(OWNERLESS, page)).fetchall()
        gates = await (await connection.execute(STUCK, {"after": after, "limit": BATCH})).fetchall()
        stuck = [gate for gate, may_pass in gates if may_pass]
        await connection.execute(TICKETS, ([gate for gate in stuck if gate.startswith(STREAM)], BATCH))
        await connection.execute(FORGET, (IDLE, BATCH))
    if ownerless := [task_id for _, task_id, is_ownerless in slots if is_ownerless]:
        await vacate(connection, ownerless, ownerless)
    if stuck:
        await admit(connection, stuck)
    ends = [gates[-1][0]] if len(gates) > BATCH else []
    if len(slots) == SLOTS:  # the last gate may go on beyond this page
        ends.append(max((gate for gate, *_ in slots if gate < slots[-1][0]), default=slots[-1][0]))
    return min(ends, default="")
