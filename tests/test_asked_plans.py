"""What is read when people ask for something to be done with a task, or to see it: no more than what it concerns."""

from __future__ import annotations

from datetime import timedelta
from functools import partial
from uuid import UUID, uuid4

import pytest
from django.db import connection
from django.utils import timezone

from djqueue import AsyncResult, chain
from djqueue.admin.queues import HELD_BACK
from djqueue.admin.schedule_runs import attach_runs
from djqueue.admin.workflows import failed_steps, newest_workflows
from djqueue.doctor import check_invariants
from djqueue.models import Schedule, ScheduleRun, Task
from djqueue.observability.tree import read_tree
from djqueue.records import Outcome
from djqueue.schedules.rules import Fate
from djqueue.serializers import encode_error
from djqueue.store.beat import unfinished
from djqueue.store.cancel import cancellations, forget_notes
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.following import followers
from djqueue.store.lines import BEFORE_PARKED, next_parked
from djqueue.store.looks import due_tasks
from djqueue.store.rearrange import move, reschedule, run_now
from djqueue.store.repair import repair

from .conftest import DEFAULT, Session
from .rows_read import STATISTICS, by_call, by_call_outside, by_verb, statistics
from .site.canvas_tasks import identity
from .site.cluster_limits import one_at_a_time
from .site.tasks import noop

MANY = 10_000
FEW = 9000
"""Rows: none of the large tables is read as a whole. Those of tasks that wait and run are small here, and may be."""
WORKFLOWS = 100
WRONG = encode_error(ValueError("wrong"), with_traceback=False)
# They seem to have just been parked for as long as the test takes: their slot is free, which is wrong for long.
PARK = """
WITH taken AS (DELETE FROM djqueue_readytask RETURNING task_id)
INSERT INTO djqueue_parkedtask (gate, rank, task_id, attempt, slots, parked_at)
SELECT task.options ->> 'gate', 0, taken.task_id, 0, 1, now() + interval '1 day'
FROM taken CROSS JOIN LATERAL (SELECT options FROM djqueue_task WHERE id = taken.task_id LIMIT 1) AS task
"""
PUT_OFF = """
WITH taken AS (DELETE FROM djqueue_readytask RETURNING task_id)
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT now() + interval '1 day', task_id, 0, 1 FROM taken
"""


class Filled:
    """Thousands of tasks that have finished, that are scheduled, parked and in line, and workflows that failed.

    Of each, some ids.
    """

    def __init__(self, session: Session, worker: int) -> None:
        self.workflows = [first_of(chain(*[identity.si(1)] * 3).apply_async()) for _ in range(WORKFLOWS)]
        end = partial(session, conclude, worker, "w")
        end([Outcome.failed(one.id, one.attempt, WRONG, 1.0, 2.0) for one in session(claim, worker, [DEFAULT], MANY)])
        self.finished = ids(noop.delay_many([((), {})] * MANY))
        claims = session(claim, worker, [DEFAULT], MANY)
        end([Outcome.succeeded(one.id, one.attempt, "1", 1.0, 2.0) for one in claims])
        self.parked = ids(one_at_a_time.delay_many([((7,), {})] * MANY))
        session.sql(PARK)
        self.scheduled = ids(noop.delay_many([((), {})] * MANY))
        session.sql(PUT_OFF)
        self.waiting = [first_of(chain(identity.s(1), *[identity.s()] * 9).apply_async()) for _ in range(WORKFLOWS)]
        session.sql("DELETE FROM djqueue_cancelledtask")
        self.session = session
        self.schedule = Schedule.objects.create(name="often", task="x", kind="interval", every=timedelta(days=1))
        ScheduleRun.objects.bulk_create(
            ScheduleRun(
                schedule=self.schedule, due_at=timezone.now() - timedelta(hours=n), fired_at=timezone.now(),
                fate=Fate.ENQUEUED, task_id=task_id,
            )
            for n, task_id in enumerate(self.finished[:50])
        )  # fmt: skip


def first_of(result: AsyncResult) -> str:
    while result.parent is not None:
        result = result.parent
    return result.id


def ids(results: list[AsyncResult]) -> list[str]:
    return [result.id for result in results[:: MANY // 50]]


@pytest.fixture(params=STATISTICS)
def filled(request: pytest.FixtureRequest, session: Session, worker: int) -> Filled:
    with statistics(request.param, session.sql):
        return Filled(session, worker)


def test_no_more_is_read_than_what_is_asked_for(filled: Filled, worker: int) -> None:
    """One test for all, because the rows take seconds to make."""
    with connection.cursor() as cursor:
        later = timezone.now() + timedelta(days=2)
        inside = {
            "revoking what is scheduled": AsyncResult(filled.scheduled[0]).revoke,
            "revoking what has finished": AsyncResult(filled.finished[0]).revoke,
            "revoking what is unknown": AsyncResult(str(uuid4())).revoke,
            "running now": lambda: run_now(cursor, filled.scheduled[1:3]),
            "putting off": lambda: reschedule(cursor, filled.scheduled[3:5], later),
            "moving": lambda: move(cursor, filled.scheduled[5:7], queue="other"),
            "whose end is awaited": lambda: unfinished(
                connection, [UUID(one) for one in filled.finished[:5] + filled.scheduled[7:9]]
            ),
            "states": lambda: list(Task.objects.with_state().order_by("-pk")[:100]),
            "children": lambda: AsyncResult(filled.workflows[0]).children,
            "what follows": lambda: followers(cursor, filled.waiting[0]),
            "a tree": lambda: read_tree(cursor, filled.waiting[1]),
            "failed steps": lambda: failed_steps("default", filled.workflows[0]),
            "parked tasks of a queue": lambda: next_parked(cursor, "default", BEFORE_PARKED, 20),
            "held back": lambda: cursor.execute(HELD_BACK, [20, "default"]),
            "what schedules did": lambda: attach_runs([filled.schedule]),
        }
        read = {what: by_call(call) for what, call in inside.items()}
        read["workflows"] = by_call(lambda: newest_workflows("default")) / 20
        assert len(followers(cursor, filled.waiting[0])) == 9
        assert len(next_parked(cursor, "default", BEFORE_PARKED, 20).ids) == 20
    outside = {
        "revoking what is parked": AsyncResult(filled.parked[0]).revoke,
        "revoking what waits": AsyncResult(filled.waiting[2]).revoke,
        "retrying": AsyncResult(filled.workflows[1]).retry,
    }
    read |= {what: by_call_outside(filled.session, call) for what, call in outside.items()}
    assert AsyncResult(filled.parked[0]).state == AsyncResult(filled.waiting[2]).state == "REVOKED"
    assert AsyncResult(filled.workflows[1]).state == "PENDING"
    read["notes of a worker"] = by_verb(filled.session, cancellations, worker)
    read["forgetting notes"] = by_verb(filled.session, forget_notes, 60.0)
    assert {what: number for what, number in read.items() if number > FEW} == {}
    # Tasks that are due, a part at a time.
    assert by_verb(filled.session, due_tasks, 20, lambda queue: True) < 3 * 500
    # What contradicts: each place once, with what the others say of its tasks.
    assert by_verb(filled.session, repair) < 10 * MANY
    # And whole tables are compared with each other.
    assert by_call(check_invariants) < 100 * MANY
