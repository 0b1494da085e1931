"""Invariants: what must hold for the rows of every task at any time, and which rows break it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from django.db import transaction
from django.db.backends.base.base import BaseDatabaseWrapper

EXAMPLES = 5

PLACES = {
    "ready": "djqueue_readytask",
    "scheduled": "djqueue_scheduledtask",
    "waiting": "djqueue_waitingtask",
    "parked": "djqueue_parkedtask",
    "running": "djqueue_runningtask",
    "finished": "djqueue_taskresult",
}
"""Every task stands in exactly one of these tables."""

STANDING = " UNION ALL ".join(f"SELECT task_id, '{place}' AS place FROM {table}" for place, table in PLACES.items())
NOT_STANDING = " AND ".join(
    f"NOT EXISTS (SELECT FROM {table} AS place WHERE place.task_id = task.id)" for table in PLACES.values()
)

# Tasks move while this reads. Each rule is therefore one statement: it sees one snapshot, and a move is one
# transaction, so no task is ever seen on its way.
COUNTED = """
SELECT count(*), array_agg(example) FILTER (WHERE number <= {examples})
FROM (
    SELECT example, row_number() OVER () AS number FROM ({violations}) AS violation (example)
) AS numbered
"""


class Rule(NamedTuple):
    """``violations`` is a query of one text column that names each offender; ``meaning`` completes "12 …"."""

    name: str
    meaning: str
    advice: str
    violations: str


RULES = (
    Rule(
        "tasks-nowhere",
        "task(s) stand in no table, so that nothing will ever run them",
        "A bug, or rows deleted by hand. Enqueue these tasks again and delete their rows in djqueue_task.",
        f"SELECT task.id::text FROM djqueue_task AS task WHERE {NOT_STANDING}",
    ),
    Rule(
        "tasks-twice",
        "task(s) stand in more than one place, so that they may run twice",
        "A bug, or rows inserted by hand. Keep the row of the result if there is one, delete the others.",
        f"""
        SELECT task_id || ' (' || string_agg(place, ', ' ORDER BY place) || ')'
        FROM ({STANDING}) AS standing
        GROUP BY task_id
        HAVING count(*) > 1
        """,
    ),
    Rule(
        "rows-without-task",
        "row(s) point to a task that does not exist",
        "Tasks were deleted by hand. Delete these rows as well.",
        f"""
        SELECT standing.place || ' ' || standing.task_id
        FROM ({STANDING} UNION ALL SELECT task_id, 'attempt' FROM djqueue_taskattempt) AS standing
        WHERE NOT EXISTS (SELECT FROM djqueue_task AS task WHERE task.id = standing.task_id)
        """,
    ),
    Rule(
        "waiting-for-nothing",
        "task(s) wait for something that has ended or is unknown, so that nothing will ever release them",
        "A bug, or rows deleted by hand. Cancel these tasks and apply their workflow again.",
        """
        SELECT waiting.task_id || ' (for ' || waiting.waits_for || ')'
        FROM djqueue_waitingtask AS waiting
        WHERE NOT EXISTS (
            SELECT FROM djqueue_task AS task
            WHERE task.id = waiting.waits_for
                AND (SELECT true FROM djqueue_taskresult AS result WHERE result.task_id = task.id LIMIT 1) IS NULL
        ) AND NOT EXISTS (
            SELECT FROM djqueue_taskgroup AS awaited
            WHERE awaited.id = waiting.waits_for AND awaited.pending > 0 AND NOT awaited.failed
        )
        """,
    ),
    Rule(
        "groups-miscounted",
        "group(s) count another number of unfinished members than there are",
        "A bug, or rows deleted by hand. Cancel what waits for these groups and apply their workflow again.",
        """
        SELECT awaited.id || ' (' || awaited.pending || ' pending)'
        FROM djqueue_taskgroup AS awaited
        WHERE awaited.pending IS NOT NULL AND NOT awaited.failed AND awaited.pending > 0 AND awaited.pending <> (
            SELECT count(*) FROM djqueue_task AS task
            WHERE task.group_id = awaited.id AND (
                SELECT result.state FROM djqueue_taskresult AS result WHERE result.task_id = task.id LIMIT 1
            ) IS DISTINCT FROM 5
        ) + (
            SELECT count(*) FROM djqueue_taskgroup AS inner_group
            WHERE inner_group.group_id = awaited.id AND inner_group.pending > 0
        )
        """,
    ),
    Rule(
        "slots-without-owner",
        "slot(s) of concurrency keys are held by tasks that neither run nor are about to",
        "A bug, or rows deleted by hand. Any live worker gives these slots back within a minute.",
        """
        SELECT slot.gate || ' #' || slot.number || ' (task ' || slot.task_id || ')'
        FROM djqueue_concurrencyslot AS slot
        WHERE NOT EXISTS (SELECT FROM djqueue_runningtask AS place WHERE place.task_id = slot.task_id)
            AND NOT EXISTS (
                SELECT FROM djqueue_parkedtask AS place
                WHERE place.task_id = slot.task_id AND (place.gate <> slot.gate OR slot.gate LIKE 'stream %%')
            )
            AND NOT (slot.gate LIKE 'stream %%' AND EXISTS (
                SELECT FROM djqueue_scheduledtask AS place WHERE place.task_id = slot.task_id
            ))
            AND NOT EXISTS (
                SELECT FROM djqueue_readytask AS place
                WHERE place.task_id = slot.task_id AND (place.queue LIKE '%%!' OR slot.gate LIKE 'stream %%')
            )
        """,
    ),
    Rule(
        "parked-beside-free-slot",
        "key(s) have tasks parked although a slot is free",
        "A worker died at the wrong moment. Any live worker lets these tasks go on within a minute.",
        """
        SELECT first.gate || ' (' || first.slots || ' slots)'
        FROM (
            SELECT DISTINCT ON (parked.gate) parked.*
            FROM djqueue_parkedtask AS parked
            WHERE parked.gate LIKE 'key %%'
            ORDER BY parked.gate, parked.rank, parked.seq
        ) AS first
        WHERE first.parked_at < clock_timestamp() - make_interval(secs => %(overdue)s) AND first.slots > (
            SELECT count(*) FROM djqueue_concurrencyslot AS slot WHERE slot.gate = first.gate
        )
        """,
    ),
    Rule(
        "parked-without-wakening",
        "rate limit(s) hold tasks back that nobody will let go",
        "A worker died at the wrong moment. Any live worker lets these tasks go on within a minute.",
        """
        SELECT parked.gate || ' (' || count(*) || ' tasks)'
        FROM djqueue_parkedtask AS parked
        WHERE (parked.gate LIKE 'task %%' OR parked.gate LIKE 'queue %%')
            AND parked.parked_at < clock_timestamp() - make_interval(secs => %(overdue)s)
            AND NOT EXISTS (
                SELECT FROM djqueue_rategate AS known WHERE known.gate = parked.gate AND known.wakes_at IS NOT NULL
            )
        GROUP BY parked.gate
        """,
    ),
    Rule(
        "leases-without-worker",
        "running task(s) are held by a worker that has no row",
        "A worker's row was deleted by hand. Any live worker takes these tasks back within a minute.",
        """
        SELECT running.task_id || ' (worker ' || running.worker_id || ')'
        FROM djqueue_runningtask AS running
        WHERE NOT EXISTS (SELECT FROM djqueue_worker AS worker WHERE worker.id = running.worker_id)
        """,
    ),
    Rule(
        "leases-ended",
        "running task(s) are held under a lease that ended long ago",
        "Any live worker takes these tasks back within seconds: start one with manage.py runworker.",
        """
        SELECT running.task_id || ' (worker ' || worker.name || ')'
        FROM djqueue_worker AS worker
        JOIN djqueue_runningtask AS running ON running.worker_id = worker.id
        WHERE worker.lease_until < clock_timestamp() - make_interval(secs => %(overdue)s)
        """,
    ),
)


@dataclass(frozen=True, slots=True)
class Violation:
    """A rule that is broken: how often, and a few of the offenders."""

    rule: str
    count: int
    examples: tuple[str, ...]
    meaning: str
    advice: str


def read_violations(connection: BaseDatabaseWrapper, overdue: float) -> list[Violation]:
    """Return the rules that are broken; a lease counts as ended ``overdue`` seconds after its end."""
    broken = []
    with transaction.atomic(using=connection.alias), connection.cursor() as cursor:
        # Whole tables are compared. A planner who takes them for empty would read one of them for each row of another.
        cursor.execute("SET LOCAL enable_nestloop = off")
        for rule in RULES:
            cursor.execute(COUNTED.format(examples=EXAMPLES, violations=rule.violations), {"overdue": float(overdue)})
            count, examples = cursor.fetchone()
            if count:
                broken.append(Violation(rule.name, count, tuple(examples), rule.meaning, rule.advice))
        transaction.set_rollback(True, using=connection.alias)  # and with it the setting, if another one is open
    return broken
