"""Insert: a task and its place, on the caller's connection and in its transaction."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import datetime
from functools import lru_cache
from itertools import islice
from typing import Any

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.backends.utils import CursorWrapper

from djqueue.records import NewTask
from djqueue.states import ScheduleReason

from .functions import Procedure
from .tickets import draw_tickets

STANDING_CURSOR = "_djqueue_cursor"
COPY_FROM = 2000
"""From this many tasks on, COPY is faster than INSERT."""
COPY_BLOCK = 5000
"""Tasks written between two looks at the caller's iterable; bounds the memory of an endless one."""

# Why this shape. One statement, so one round trip and one commit. As a common table expression it was parsed and
# planned for every call, because Django prepares nothing: 335 µs against 250 µs for the CALL, and 200 µs for a bare and
# prepared INSERT of the task alone. A new connection pays 0.4 ms for its first CALL.
INSERT_READY = Procedure(
    verb="insert",
    arguments=("uuid", "text", "text", "smallint", "jsonb", "jsonb", "jsonb"),
    statements="""
INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, options) VALUES ($1, $2, $3, $4, $5, $6, $7);
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt) VALUES ($3, $4, $1, 0);
""",
)
CALL = f"CALL {INSERT_READY.name}(%s, %s, %s, %s::smallint, %s, %s, %s)"

# For ids that the caller chose, and for what few tasks have. The place is inserted from what the task's insert
# returned: an id that is taken inserts neither, and leaves the caller's transaction intact. The database's clock
# decides when a wait is over, so it also decides when it began.
INSERT_TASK = """
    INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, options, parent_id, root_id, expires_at)
    VALUES (
        %s, %s, %s, %s, %s, %s, %s, %s, %s, coalesce(%s, statement_timestamp() + make_interval(secs => %s))
    )
    ON CONFLICT (id) DO NOTHING
    RETURNING id, queue, priority
"""
INSERT_CHOSEN = f"""
WITH task AS ({INSERT_TASK})
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, priority, id, 0 FROM task
"""
INSERT_SCHEDULED = f"""
WITH task AS ({INSERT_TASK})
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT coalesce(%s, statement_timestamp() + make_interval(secs => %s)), id, 0, {ScheduleReason.ETA.value}
FROM task
"""

INSERT_MANY = """
WITH given AS (
    SELECT *
    FROM ROWS FROM (
        unnest(
            %s::uuid[], %s::text[], %s::text[], %s::smallint[], %s::text[], %s::text[], %s::text[],
            %s::uuid[], %s::uuid[], %s::timestamptz[]
        )
    ) WITH ORDINALITY
        AS given (id, name, queue, priority, args, kwargs, options, parent_id, root_id, expires_at, place)
),
task AS (
    INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs, options, parent_id, root_id, expires_at)
    SELECT
        id, name, queue, priority, args::jsonb, kwargs::jsonb, options::jsonb, parent_id, root_id, expires_at
    FROM given
)
INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)
SELECT queue, priority, id, 0 FROM given ORDER BY place
"""

NULL = "\\N"
COPY_TASKS = """
COPY djqueue_task (id, name, queue, priority, args, kwargs, options, parent_id, root_id, expires_at) FROM STDIN
"""
COPY_READY = "COPY djqueue_readytask (queue, priority, task_id, attempt) FROM STDIN"


def standing_cursor(connection: BaseDatabaseWrapper) -> CursorWrapper:
    """Return a cursor of a Django connection that stays open from call to call.

    Opening one costs 45 of the 300 µs of a ``delay()``, and each line here counts four times: it runs on caches that
    were lost while the server worked. While statements are logged (``DEBUG``, ``assertNumQueries``) a
    new one is opened, because only that one logs.
    """
    if connection.queries_logged:
        return connection.cursor()
    if connection.connection is None or connection.health_check_enabled:  # type: ignore[attr-defined]
        connection.close_if_health_check_failed()
    connection.ensure_connection()  # also where it is open: test frameworks block the database here
    cursor: CursorWrapper | None = getattr(connection, STANDING_CURSOR, None)
    if cursor is None or cursor.cursor.connection is not connection.connection:
        cursor = connection.cursor()
        setattr(connection, STANDING_CURSOR, cursor)
    return cursor


def database_now(connection: BaseDatabaseWrapper) -> datetime:
    """Return the database's time, which decides when tasks expire."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT clock_timestamp()")
        now: datetime = cursor.fetchone()[0]
        return now


def insert(cursor: CursorWrapper, task: NewTask) -> None:
    """Insert a task under a new id; it is ready at once."""
    cursor.execute(CALL, task[:7])


def insert_chosen(cursor: CursorWrapper, task: NewTask) -> bool:
    """Insert a task with all that a call can say, under an id that may be taken; False if it is."""
    if task.stream is not None:
        with transaction.atomic(using=cursor.db.alias):
            inserted = insert_chosen(cursor, task._replace(stream=None))
            if inserted:
                draw_tickets(cursor, [task])
        return inserted
    if task.run_at is None and task.run_in is None:
        cursor.execute(INSERT_CHOSEN, task[:11])
    else:
        cursor.execute(INSERT_SCHEDULED, task.columns)
    return bool(cursor.rowcount)


def insert_many(cursor: CursorWrapper, tasks: Iterable[NewTask]) -> int:
    """Insert any number of tasks that are ready at once, in their order; return how many.

    The caller provides the transaction. ``tasks`` is read lazily, a few thousand at a time.
    """
    stream = iter(tasks)
    total = 0
    while block := list(islice(stream, COPY_BLOCK)):
        total += len(block)
        if len(block) < COPY_FROM:
            columns: list[Sequence[Any]] = list(zip(*block, strict=True))
            cursor.execute(INSERT_MANY, [list(column) for column in columns[:10]])
        else:
            _copy(cursor, block)
        draw_tickets(cursor, block)
    return total


def _copy(cursor: CursorWrapper, block: list[NewTask]) -> None:
    tasks, places = [], []
    for id, name, queue, priority, args, kwargs, options, parent_id, root_id, expires_at, *_ in block:
        name, queue = _escape_name(name), _escape_name(queue)
        tasks.append(
            f"{id}\t{name}\t{queue}\t{priority}\t{_escape_json(args)}\t{_escape_json(kwargs)}\t"
            f"{NULL if options is None else _escape_json(options)}\t{parent_id or NULL}\t{root_id or NULL}\t"
            f"{expires_at or NULL}\n"
        )
        places.append(f"{queue}\t{priority}\t{id}\t0\n")
    with cursor.copy(COPY_TASKS) as copy:
        copy.write("".join(tasks))
    with cursor.copy(COPY_READY) as copy:
        copy.write("".join(places))


def _escape_json(text: str) -> str:
    """Escape for COPY's text format. JSON text has no raw tabs or newlines."""
    return text.replace("\\", "\\\\") if "\\" in text else text


@lru_cache(maxsize=256)  # most blocks have one name and one queue
def _escape_name(text: str) -> str:
    return _escape_json(text).replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r")
