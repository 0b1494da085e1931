"""Unique: insert tasks of which only one may hold a key, or find those that hold it.

A row in ``djqueue_uniquekey`` names the task that took a key last. Nobody frees it: whether it is held is read from
where that task stands. So every end of a task frees its keys, in whatever way it ends, and claiming and settling know
nothing of all this.
"""

from __future__ import annotations

from collections.abc import Sequence

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from djqueue.limits import STREAM
from djqueue.planned import row_text
from djqueue.records import NewTask
from djqueue.routing import FRONT
from djqueue.uniqueness import Answer, Did

from .functions import Block
from .gates import CALL as CALL_ADMIT

GIVEN = """
ROWS FROM (
    jsonb_to_recordset($1) AS (
        id uuid, name text, queue text, priority smallint, args jsonb, kwargs jsonb, options jsonb,
        parent_id uuid, root_id uuid, expires_at timestamptz, expires_in double precision,
        run_at timestamptz, run_in double precision,
        key text, until smallint, action smallint, period double precision, latest double precision
    )
) WITH ORDINALITY AS given (
    id, name, queue, priority, args, kwargs, options, parent_id, root_id, expires_at, expires_in, run_at, run_in,
    key, until, action, period, latest, place
)
"""

ADD = Block(
    verb="add",
    arguments=("jsonb",),
    returns="void",
    declare="",
    statements=f"""
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, options, parent_id, root_id, expires_at)
SELECT
    id, name, queue, priority, args, kwargs, options, parent_id, root_id,
    coalesce(expires_at, statement_timestamp() + make_interval(secs => expires_in))
FROM {GIVEN};

INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT coalesce(run_at, statement_timestamp() + make_interval(secs => run_in)), id, 0, 1
FROM {GIVEN}
WHERE run_at IS NOT NULL OR run_in IS NOT NULL;

INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, priority, id, 0
FROM {GIVEN}
WHERE run_at IS NULL AND run_in IS NULL
ORDER BY place;

INSERT INTO djqueue_streamticket (gate, task_id)
SELECT options ->> 'gate', id
FROM {GIVEN}
WHERE options ->> 'gate' LIKE '{STREAM}%'
ORDER BY place;
""",
)

# Why this shape. The primary key of djqueue_uniquekey is the arbiter: of two transactions that insert one key the
# second waits for the end of the first. Whether a key that is there is held cannot be a condition of that INSERT: its
# snapshot may be older than the row that it waited for. So it is asked by statements of their own, each of
# which sees what is committed when it begins, under the lock of the key. A holder that waits is locked where it stands:
# no worker claims it before the caller's transaction has ended, so a call that adds nothing can rely on its being run
# after the commit. A holder in line, or in front of it, is looked up from the sequence number on that was reached when
# it took the key. If it is found nowhere it moved between two of these statements, and is looked up again.
#
# A task that is changed gets a new row in line, with its old number: a claim that began before would take the old row,
# were it only locked meanwhile, and read the task as it was. Of old and new row every snapshot sees one, which is all
# that the floors need. One that is parked, or has passed its limits, stays where it is unless the change concerns that;
# if it does, it goes back in line, and what it held of a limit is taken from it. Who is next at that gate is asked
# when the caller's transaction has ended (``_admit_later``): the lock of a gate is for short ones. What is freed
# belongs to a task that is locked here, so nobody waits for it meanwhile.
#
# Of what is given only what is to be added is handed on: each statement of ADD reads all that it gets.
# 1 to 4 of ``stands`` are: in line, scheduled, in somebody's hands, parked.
UNIQUE = Block(
    verb="unique",
    arguments=("jsonb",),
    returns="TABLE (place bigint, task_id text, did smallint, freed text)",
    declare="""
    taken uuid[];
    one record;
    holder record;
    its record;
    stands integer;
    made integer;
    spot tid;
    lane text;
    number bigint;
    onward jsonb;
    left_gate text;
    stays boolean;
    waits boolean;
    due timestamptz;
    held timestamptz;
""",
    statements=f"""
IF EXISTS (
    SELECT FROM {GIVEN} CROSS JOIN LATERAL (SELECT FROM djqueue_task WHERE djqueue_task.id = given.id LIMIT 1) AS its
) THEN
    RETURN QUERY SELECT given.place, given.id::text, 0::smallint, NULL FROM {GIVEN};
    RETURN;
END IF;

WITH won AS (
    INSERT INTO djqueue_uniquekey (key, task_id, until, held_until, first_at, seq)
    SELECT DISTINCT ON (given.key)
        given.key, given.id, given.until, clock_timestamp() + make_interval(secs => given.period), clock_timestamp(),
        (SELECT last_value FROM djqueue_readytask_seq)
    FROM {GIVEN}
    ORDER BY given.key, given.place
    ON CONFLICT (key) DO NOTHING
    RETURNING djqueue_uniquekey.task_id
)
SELECT coalesce(array_agg(won.task_id), '{{}}') INTO taken FROM won;
IF cardinality(taken) > 0 THEN
    PERFORM {ADD.name}(CASE WHEN cardinality(taken) = jsonb_array_length($1) THEN $1 ELSE (
        SELECT jsonb_agg($1 -> (given.place - 1)::integer ORDER BY given.place)
        FROM {GIVEN} WHERE given.id = ANY (taken)
    ) END);
    RETURN QUERY SELECT given.place, given.id::text, 1::smallint, NULL FROM {GIVEN} WHERE given.id = ANY (taken);
END IF;

FOR one IN SELECT given.* FROM {GIVEN} WHERE NOT given.id = ANY (taken) ORDER BY given.key, given.place LOOP
    held := clock_timestamp() + make_interval(secs => one.period);
    FOR turn IN 1..20 LOOP
        SELECT * INTO holder FROM djqueue_uniquekey WHERE key = one.key FOR UPDATE;
        IF NOT FOUND THEN
            INSERT INTO djqueue_uniquekey (key, task_id, until, held_until, first_at, seq)
            SELECT one.key, one.id, one.until, held, clock_timestamp(), last_value FROM djqueue_readytask_seq
            ON CONFLICT (key) DO NOTHING;
            CONTINUE WHEN NOT FOUND;
            PERFORM {ADD.name}(jsonb_build_array($1 -> (one.place - 1)::integer));
            RETURN QUERY SELECT one.place, one.id::text, 1::smallint, NULL;
            EXIT;
        END IF;

        stands := 0; made := 0; waits := false;
        SELECT * INTO its FROM djqueue_task WHERE id = holder.task_id LIMIT 1;
        IF FOUND THEN
            SELECT 2, scheduled.attempt INTO stands, made
            FROM djqueue_scheduledtask AS scheduled WHERE scheduled.task_id = holder.task_id LIMIT 1
            FOR UPDATE;
            IF NOT FOUND AND EXISTS (SELECT FROM djqueue_taskresult AS ended WHERE ended.task_id = holder.task_id) THEN
                stands := 0;
            ELSIF stands IS NULL AND (
                EXISTS (SELECT FROM djqueue_runningtask AS lease WHERE lease.task_id = holder.task_id)
                OR EXISTS (SELECT FROM djqueue_waitingtask AS waiting WHERE waiting.task_id = holder.task_id)
            ) THEN
                stands := 3;
            ELSIF stands IS NULL THEN
                SELECT 4, parked.attempt INTO stands, made
                FROM djqueue_parkedtask AS parked WHERE parked.task_id = holder.task_id LIMIT 1
                FOR UPDATE;
                lane := its.queue;
                WHILE stands IS NULL AND lane IS NOT NULL LOOP
                    SELECT 1, ready.attempt, ready.ctid, ready.seq INTO stands, made, spot, number
                    FROM djqueue_readytask AS ready
                    WHERE ready.queue = lane AND ready.priority = its.priority AND ready.seq >= holder.seq
                        AND ready.task_id = holder.task_id
                    LIMIT 1
                    FOR UPDATE;
                    EXIT WHEN FOUND;
                    lane := CASE WHEN lane = its.queue THEN its.queue || '{FRONT}' END;
                END LOOP;
                CONTINUE WHEN stands IS NULL AND turn < 20;
                stands := coalesce(stands, 0);
            END IF;
            IF stands IN (1, 2, 4) AND (
                its.expires_at <= clock_timestamp()
                OR EXISTS (SELECT FROM djqueue_cancelledtask AS note WHERE note.task_id = holder.task_id)
            ) THEN
                stands := 0;
            END IF;
            waits := stands IN (1, 2, 4) AND (holder.until = 2 OR made = 0);
        END IF;

        IF NOT waits AND NOT (holder.until = 2 AND stands > 0)
            AND coalesce(holder.held_until <= clock_timestamp(), true)
        THEN
            UPDATE djqueue_uniquekey
            SET task_id = one.id, until = one.until, held_until = held, first_at = clock_timestamp(),
                seq = (SELECT last_value FROM djqueue_readytask_seq)
            WHERE key = one.key;
            PERFORM {ADD.name}(jsonb_build_array($1 -> (one.place - 1)::integer));
            RETURN QUERY SELECT one.place, one.id::text, 1::smallint, NULL;
            EXIT;
        END IF;
        IF NOT waits OR one.action IN (1, 3) THEN
            RETURN QUERY SELECT one.place, holder.task_id::text, 2::smallint, NULL;
            EXIT;
        END IF;

        due := coalesce(one.run_at, clock_timestamp() + make_interval(secs => one.run_in));
        due := least(due, holder.first_at + make_interval(secs => one.latest));
        onward := its.options;
        IF one.action = 2 THEN
            onward := one.options;
            UPDATE djqueue_task
            SET args = one.args, kwargs = one.kwargs, options = one.options, queue = one.queue,
                priority = one.priority,
                expires_at = coalesce(one.expires_at, clock_timestamp() + make_interval(secs => one.expires_in))
            WHERE id = holder.task_id
            RETURNING expires_at INTO one.expires_at;
            IF held IS NOT NULL OR one.until <> holder.until THEN
                UPDATE djqueue_uniquekey SET until = one.until, held_until = greatest(held_until, held)
                WHERE key = one.key;
            END IF;
        ELSE
            one.queue := its.queue; one.priority := its.priority; one.expires_at := its.expires_at;
        END IF;

        left_gate := its.options ->> 'gate';
        stays := due IS NULL AND stands <> 2 AND one.queue = its.queue AND one.priority = its.priority
            AND left_gate IS NOT DISTINCT FROM onward ->> 'gate'
            AND its.options ->> 'rate_key' IS NOT DISTINCT FROM onward ->> 'rate_key';
        IF stays AND stands = 4 THEN
            UPDATE djqueue_parkedtask AS parked
            SET expires_at = one.expires_at, slots = coalesce((onward ->> 'slots')::smallint, 1)
            WHERE parked.task_id = holder.task_id;
        ELSIF stays AND one.action = 2 THEN
            DELETE FROM djqueue_readytask WHERE ctid = spot;
            INSERT INTO djqueue_readytask (queue, priority, seq, task_id, attempt)
            VALUES (lane, one.priority, number, holder.task_id, made);
        ELSIF NOT stays THEN
            DELETE FROM djqueue_readytask WHERE stands = 1 AND ctid = spot;
            DELETE FROM djqueue_scheduledtask AS scheduled WHERE stands = 2 AND scheduled.task_id = holder.task_id;
            DELETE FROM djqueue_parkedtask AS parked WHERE stands = 4 AND parked.task_id = holder.task_id;
            INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
            SELECT one.queue, one.priority, holder.task_id, made WHERE due IS NULL;
            INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
            SELECT due, holder.task_id, made, 1 WHERE due IS NOT NULL;
        END IF;
        IF left_gate IS DISTINCT FROM onward ->> 'gate' THEN
            DELETE FROM djqueue_concurrencyslot AS slot WHERE slot.task_id = holder.task_id;
            DELETE FROM djqueue_streamticket AS ticket
            WHERE ticket.gate = left_gate AND ticket.task_id = holder.task_id;
            INSERT INTO djqueue_streamticket (gate, task_id)
            SELECT onward ->> 'gate', holder.task_id WHERE onward ->> 'gate' LIKE '{STREAM}%';
        ELSIF NOT stays AND left_gate NOT LIKE '{STREAM}%' THEN
            DELETE FROM djqueue_concurrencyslot AS slot WHERE slot.task_id = holder.task_id;
            left_gate := CASE WHEN FOUND THEN left_gate END;
        ELSE
            left_gate := NULL;
        END IF;
        RETURN QUERY SELECT one.place, holder.task_id::text, 4::smallint, left_gate;
        EXIT;
    END LOOP;
END LOOP;
""",
)

CALL = f"SELECT place, task_id, did, freed FROM {UNIQUE.name}(%s::jsonb)"


def insert_unique(cursor: CursorWrapper, tasks: Sequence[NewTask]) -> list[Answer]:
    """Insert those of the tasks whose key is not held; return what became of each, in their order."""
    cursor.execute(CALL, ("[" + ",".join(map(_row, tasks)) + "]",))
    rows = cursor.fetchall()
    if freed := {gate for *_, gate in rows if gate is not None}:
        _admit_later(cursor.db, freed)
    answers = {place: Answer(task_id, Did(did)) for place, task_id, did, _ in rows}
    return [answers[place] for place in range(1, len(tasks) + 1)]


def _admit_later(connection: BaseDatabaseWrapper, gates: set[str]) -> None:
    """Let others pass gates when the caller's transaction has committed; if it ends by hand, a patrol sees to it."""

    def admit() -> None:
        with connection.cursor() as cursor:
            cursor.execute(CALL_ADMIT, (sorted(gates),))

    if connection.in_atomic_block or connection.get_autocommit():
        transaction.on_commit(admit, using=connection.alias, robust=True)


def _row(task: NewTask) -> str:
    unique = task.unique
    assert unique is not None
    return row_text(
        task,
        key=unique.key,
        until=int(unique.until),
        action=int(unique.action),
        period=unique.period,
        latest=unique.latest,
    )
