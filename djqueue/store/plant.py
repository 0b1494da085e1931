"""Plant: insert a workflow, every step of it, in one statement."""

from __future__ import annotations

from django.db.backends.utils import CursorWrapper

from djqueue.states import ScheduleReason

from .functions import Procedure

# Why this shape. As a procedure it is parsed and planned once a session: as a statement it cost the server twice as
# much for a workflow of a few tasks. The rows travel as one JSON array, into which arguments and options go as the text
# that they are already. A task that waits for another has its delay and its expiry counted from its release.
# A group may have a row already, from `GroupResult.save` of a frozen canvas; of one that was applied, NULL for its size
# is refused like a second row.
PLANT = Procedure(
    verb="plant",
    arguments=("uuid", "jsonb", "jsonb", "boolean"),
    statements=f"""
IF $4 THEN
    PERFORM set_config('synchronous_commit', 'off', true);
END IF;
WITH given AS MATERIALIZED (
    SELECT *
    FROM ROWS FROM (
        jsonb_to_recordset($2) AS (
            id uuid, name text, queue text, priority smallint, args jsonb, kwargs jsonb, options jsonb,
            parent_id uuid, root_id uuid, group_id uuid, group_index integer,
            expires_at timestamptz, expires_in double precision, run_at timestamptz, run_in double precision,
            waits_for uuid, takes smallint
        )
    ) WITH ORDINALITY AS given (
        id, name, queue, priority, args, kwargs, options, parent_id, root_id, group_id, group_index,
        expires_at, expires_in, run_at, run_in, waits_for, takes, place
    )
),
task AS (
    INSERT INTO djqueue_task (
        id, name, queue, priority, args, kwargs, options, parent_id, root_id, group_id, group_index, workflow_id,
        expires_at
    )
    SELECT
        id, name, queue, priority, args, kwargs, options, parent_id, root_id, group_id, group_index,
        $1,
        coalesce(
            expires_at,
            CASE WHEN waits_for IS NULL THEN statement_timestamp() + make_interval(secs => expires_in) END
        )
    FROM given
),
gathered AS (
    INSERT INTO djqueue_taskgroup (id, workflow_id, group_id, group_index, size, pending)
    SELECT id, $1, group_id, group_index, size, size
    FROM jsonb_to_recordset($3) AS given (id uuid, group_id uuid, group_index integer, size integer)
    ON CONFLICT (id) DO UPDATE
    SET workflow_id = excluded.workflow_id, group_id = excluded.group_id, group_index = excluded.group_index,
        size = CASE WHEN djqueue_taskgroup.pending IS NULL THEN excluded.size END, pending = excluded.pending
),
waiting AS (
    INSERT INTO djqueue_waitingtask (task_id, waits_for, takes, attempt, run_at, run_in, expires_in)
    SELECT id, waits_for, takes, 0, run_at, run_in, expires_in
    FROM given
    WHERE waits_for IS NOT NULL
),
scheduled AS (
    INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
    SELECT coalesce(run_at, statement_timestamp() + make_interval(secs => run_in)), id, 0, {ScheduleReason.ETA.value}
    FROM given
    WHERE waits_for IS NULL AND (run_at IS NOT NULL OR run_in IS NOT NULL)
)
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, priority, id, 0
FROM given
WHERE waits_for IS NULL AND run_at IS NULL AND run_in IS NULL
ORDER BY place;
""",
)
CALL = f"CALL {PLANT.name}(%(workflow_id)s, %(tasks)s, %(groups)s, %(lazily)s)"


# The commit of a transaction that wrote something flushes what others, of this connection, have left to be flushed.
MAKE_DURABLE = "SELECT pg_logical_emit_message(true, 'djqueue', '')"


def plant(cursor: CursorWrapper, workflow_id: str | None, tasks: str, groups: str, *, lazily: bool = False) -> None:
    """Insert tasks and groups of a workflow, given as ``planned.as_rows`` and ``planned.as_group_rows`` make them.

    ``workflow_id`` is None if it matters to nobody how the tasks end. ``lazily`` is for a statement that is a
    transaction by itself: it is committed at once, and survives a crash of the server once ``make_durable`` was called.
    """
    cursor.execute(CALL, {"workflow_id": workflow_id, "tasks": tasks, "groups": groups, "lazily": lazily})


def make_durable(cursor: CursorWrapper) -> None:
    """Wait until what was planted lazily is on disk."""
    cursor.execute(MAKE_DURABLE)
