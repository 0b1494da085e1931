"""Gates: where limited tasks are parked, and how those of concurrency keys let them pass.

A claim that meets a limited task takes it out of line and parks it at its first gate: that of its concurrency key if it
has one, then that of the rate limit of its name, then that of its queue's. So it holds up nobody. Who passes the last
gate goes to the front of its queue's line, a line of its own beside it (``routing.front_of``), and is claimed from
there as any other task; it holds its slot until it has ended. A task moves a fixed number of times, however long the
backlog.

Who parks a task and who frees a slot must see each other, or the task would stay where it is beside a free slot. So
both look under one lock of the key, in a statement that begins when they have it; and a task that is parked by a claim
is committed before anybody looks on its behalf. Locks are taken in one order: those of workflows, of keys, of rate
limits of tasks, of rate limits of queues; each kind sorted, and each at one place of a transaction.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from django.db.backends.utils import CursorWrapper
from psycopg import AsyncConnection

from djqueue.routing import FRONT

from .arrays import array_literal
from .functions import Block

LOCK_CLASS = 1684697451
"""The first key of the advisory locks of concurrency keys: ``djqk`` in ASCII."""

SEPARATOR = "\x1f"
"""Stands between the name of a task or queue and the key, in the names of the gates of rate limits."""

# The gates of rate limits, for a row ``task`` of djqueue_task. The names that have a limit are read once a statement. 1
# and 2 are the kinds of `models.limits.Limited`.
TASK_GATE = f"""CASE WHEN task.name = ANY (ARRAY(
                SELECT limited.name FROM djqueue_ratelimit AS limited
                WHERE limited.kind = 1 AND limited.per_second IS NOT NULL
            )) THEN 'task ' || task.name || '{SEPARATOR}' || coalesce(task.options ->> 'rate_key', '') END"""
QUEUE_GATE = f"""CASE WHEN task.queue = ANY (ARRAY(
                SELECT limited.name FROM djqueue_ratelimit AS limited
                WHERE limited.kind = 2 AND limited.per_second IS NOT NULL
            )) THEN 'queue ' || task.queue || '{SEPARATOR}' END"""

FIRST_GATE = f"coalesce(task.options ->> 'gate', {TASK_GATE}, {QUEUE_GATE})"

# Why this shape. The row of a gate says when tokens are given out next. The update waits for whoever gives them out
# just now and may not have seen what was parked meanwhile; of two kinds, those of tasks come first.
POKE = f"""
INSERT INTO djqueue_rategate AS known (gate, kind, name, free_at, wakes_at)
SELECT
    poked.gate, CASE WHEN poked.gate LIKE 'task %' THEN 1 ELSE 2 END,
    split_part(substr(poked.gate, 1 + position(' ' IN poked.gate)), '{SEPARATOR}', 1), '-infinity', clock_timestamp()
FROM (SELECT DISTINCT gate FROM unnest(paced) AS given (gate)) AS poked
ORDER BY poked.gate LIKE 'queue %', poked.gate
ON CONFLICT (gate) DO UPDATE SET wakes_at = excluded.wakes_at WHERE known.wakes_at IS NULL;
"""

LOCK = f"""
PERFORM pg_advisory_xact_lock({LOCK_CLASS}, stripe)
FROM (
    SELECT DISTINCT hashtext(gate) & 1023 AS stripe
    FROM unnest(gates) AS given (gate)
    ORDER BY stripe
) AS stripes;
"""

# Why this shape. For each key the free numbers are found once and given to as many heads of its line; in a stream only
# the holder of the first ticket may pass, and who was retried in one still has its slot. The task's row is joined
# before a slot is given: without one nobody would give it back.
ADMIT = Block(
    verb="admit",
    arguments=("text[]",),
    returns="TABLE (passed bigint, poked bigint)",
    declare="""
    gates text[] := ARRAY(SELECT gate FROM unnest($1) AS given (gate) WHERE gate LIKE 'key %' OR gate LIKE 'stream %');
    paced text[] := ARRAY(
        SELECT given.gate FROM unnest($1) AS given (gate)
        WHERE (given.gate LIKE 'task %' OR given.gate LIKE 'queue %') AND NOT EXISTS (
            SELECT FROM djqueue_rategate AS known
            WHERE known.gate = given.gate AND known.wakes_at > clock_timestamp()
        )
    );
    onward text[];
""",
    statements=f"""
passed := 0;
IF gates <> '{{}}' THEN
    {LOCK}
    LOOP
        DELETE FROM djqueue_streamticket
        WHERE ctid = ANY (ARRAY(
            SELECT first.place
            FROM unnest(gates) AS asked (gate)
            CROSS JOIN LATERAL (
                SELECT ticket.ctid AS place, ticket.task_id
                FROM djqueue_streamticket AS ticket
                WHERE ticket.gate = asked.gate
                ORDER BY ticket.gate, ticket.seq
                LIMIT 1
            ) AS first
            WHERE EXISTS (SELECT FROM djqueue_taskresult AS result WHERE result.task_id = first.task_id)
                OR NOT EXISTS (SELECT FROM djqueue_task AS task WHERE task.id = first.task_id)
        ));
        EXIT WHEN NOT FOUND;
    END LOOP;

    WITH asked AS MATERIALIZED (
        SELECT distinct_gate.gate, distinct_gate.gate LIKE 'stream %' AS ordered, first.slots, (
            SELECT count(*)::integer FROM djqueue_concurrencyslot AS slot WHERE slot.gate = distinct_gate.gate
        ) AS taken
        FROM (SELECT DISTINCT gate FROM unnest(gates) AS given (gate)) AS distinct_gate
        CROSS JOIN LATERAL (
            SELECT parked.slots::integer
            FROM djqueue_parkedtask AS parked
            WHERE parked.gate = distinct_gate.gate
            ORDER BY parked.gate, parked.rank, parked.seq
            LIMIT 1
        ) AS first
    ),
    open AS MATERIALIZED (
        SELECT asked.*, ARRAY(
            SELECT number
            FROM generate_series(1, asked.slots) AS number
            WHERE NOT EXISTS (
                SELECT FROM djqueue_concurrencyslot AS slot WHERE slot.gate = asked.gate AND slot.number = number.number
            )
        ) AS free
        FROM asked
        WHERE asked.taken < asked.slots
    ),
    head AS (
        SELECT open.gate, line.*, open.taken, open.free,
            row_number() OVER (PARTITION BY open.gate ORDER BY line.rank, line.seq) AS turn
        FROM open
        CROSS JOIN LATERAL (
            SELECT parked.task_id, parked.attempt, parked.rank, parked.seq, parked.slots
            FROM djqueue_parkedtask AS parked
            WHERE parked.gate = open.gate
            ORDER BY parked.gate, parked.rank, parked.seq
            LIMIT open.slots - open.taken
            FOR UPDATE SKIP LOCKED
        ) AS line
        WHERE NOT open.ordered
    ),
    next AS MATERIALIZED (
        SELECT head.gate, head.task_id, head.attempt, head.free[head.turn] AS number, NULL::tid AS ticket
        FROM head
        WHERE head.taken + head.turn <= head.slots
        UNION ALL
        SELECT open.gate, line.task_id, line.attempt, 1, first.place
        FROM open
        CROSS JOIN LATERAL (
            SELECT ticket.ctid AS place, ticket.task_id FROM djqueue_streamticket AS ticket
            WHERE ticket.gate = open.gate
            ORDER BY ticket.gate, ticket.seq
            LIMIT 1
        ) AS first
        CROSS JOIN LATERAL (
            SELECT parked.task_id, parked.attempt FROM djqueue_parkedtask AS parked
            WHERE parked.task_id = first.task_id AND parked.gate = open.gate
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) AS line
        WHERE open.ordered
        UNION ALL
        SELECT asked.gate, line.task_id, line.attempt, NULL, NULL
        FROM asked
        CROSS JOIN LATERAL (
            SELECT slot.task_id FROM djqueue_concurrencyslot AS slot WHERE slot.gate = asked.gate LIMIT 1
        ) AS holder
        CROSS JOIN LATERAL (
            SELECT parked.task_id, parked.attempt FROM djqueue_parkedtask AS parked
            WHERE parked.task_id = holder.task_id AND parked.gate = asked.gate
            LIMIT 1
            FOR UPDATE SKIP LOCKED
        ) AS line
        WHERE asked.ordered
    ),
    known AS MATERIALIZED (
        SELECT next.*, task.queue, task.priority, task.expires_at, coalesce({TASK_GATE}, {QUEUE_GATE}) AS onto
        FROM next
        CROSS JOIN LATERAL (
            SELECT id, name, queue, priority, options, expires_at FROM djqueue_task WHERE id = next.task_id LIMIT 1
        ) AS task
    ),
    held AS (
        INSERT INTO djqueue_concurrencyslot (gate, number, task_id)
        SELECT known.gate, known.number, known.task_id FROM known WHERE known.number IS NOT NULL
        ON CONFLICT DO NOTHING
        RETURNING task_id
    ),
    moving AS MATERIALIZED (
        SELECT known.* FROM known
        WHERE known.number IS NULL OR known.task_id IN (SELECT held.task_id FROM held)
    ),
    torn AS (
        DELETE FROM djqueue_streamticket
        WHERE ctid = ANY (ARRAY(SELECT moving.ticket FROM moving WHERE moving.ticket IS NOT NULL))
    ),
    gone AS (
        DELETE FROM djqueue_parkedtask
        WHERE task_id = ANY (ARRAY(SELECT moving.task_id FROM moving WHERE moving.onto IS NULL))
    ),
    moved AS (
        UPDATE djqueue_parkedtask AS parked
        SET gate = (SELECT moving.onto FROM moving WHERE moving.task_id = parked.task_id),
            seq = nextval('djqueue_readytask_seq'), parked_at = clock_timestamp()
        WHERE parked.task_id = ANY (ARRAY(SELECT moving.task_id FROM moving WHERE moving.onto IS NOT NULL))
    ),
    in_front AS (
        INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
        SELECT moving.queue || '{FRONT}', moving.priority, moving.task_id, moving.attempt
        FROM moving
        WHERE moving.onto IS NULL
    )
    SELECT count(*) FILTER (WHERE moving.onto IS NULL), array_agg(moving.onto) FILTER (WHERE moving.onto IS NOT NULL)
    INTO passed, onward
    FROM moving;
    paced := paced || coalesce(onward, '{{}}');
END IF;

IF paced <> '{{}}' THEN
    {POKE}
END IF;
poked := cardinality(paced);
RETURN NEXT;
""",
)

# Why this shape. What is freed is known before the lock and cannot change meanwhile: only who holds a task gives its
# slot back. In a stream only those among $2, which have finished, give it back: the others are made again before any
# that follow.
VACATE = Block(
    verb="vacate",
    arguments=("uuid[]", "uuid[]"),
    returns="void",
    declare="""
    gates text[] := ARRAY(
        SELECT DISTINCT slot.gate FROM djqueue_concurrencyslot AS slot
        WHERE slot.task_id = ANY ($1) AND (slot.gate NOT LIKE 'stream %' OR slot.task_id = ANY ($2))
    );
""",
    statements=f"""
IF gates = '{{}}' THEN
    RETURN;
END IF;
{LOCK}
DELETE FROM djqueue_concurrencyslot AS slot
WHERE slot.task_id = ANY ($1) AND (slot.gate NOT LIKE 'stream %' OR slot.task_id = ANY ($2));
PERFORM FROM {ADMIT.name}(gates);
""",
)


class Admitted(NamedTuple):
    """How many tasks went to the front of their line, and at how many gates tokens may be given out now."""

    passed: int
    poked: int


CALL = f"SELECT passed, poked FROM {ADMIT.name}(%s::text[])"
CALL_VACATE = f"SELECT {VACATE.name}(%s::uuid[], %s::uuid[])"


async def admit(connection: AsyncConnection, gates: Iterable[str]) -> Admitted:
    """Let tasks that are parked at these gates pass as far as their limits allow.

    At gates of rate limits they pass with the next ``pace``.
    """
    row = await (await connection.execute(CALL, (sorted(set(gates)),))).fetchone()
    assert row is not None
    return Admitted(*row)


async def vacate(connection: AsyncConnection, ids: Iterable[str], finished: Iterable[str] = ()) -> None:
    """Take the slots that tasks hold and hand them on, in the transaction in which their attempts ended.

    Tasks of ordered streams keep theirs unless they are among those that have ``finished``.
    """
    await connection.execute(CALL_VACATE, (array_literal(ids), array_literal(finished)))


def vacate_with(cursor: CursorWrapper, ids: Iterable[str]) -> None:
    """``vacate`` of tasks that have finished, for a Django cursor."""
    ended = array_literal(ids)
    cursor.execute(CALL_VACATE, (ended, ended))
