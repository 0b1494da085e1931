"""What a unique call reads, wherever the holder of its key stands, among thousands of other keys and tasks."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from django.db import connection

from djqueue.records import Outcome
from djqueue.results import AsyncResult
from djqueue.store.claim import claim
from djqueue.store.keys import prune_keys, retake_key
from djqueue.store.settle import settle

from .conftest import DEFAULT, Session
from .rows_read import STATISTICS, by_call, by_verb, statistics
from .site.cluster_limits import one_at_a_time
from .site.routing_tasks import invoice
from .site.tasks import noop

MANY = 2000
FEW = 60
LIMIT = 20


@pytest.fixture(params=STATISTICS)
def filled(request: pytest.FixtureRequest, session: Session, worker: int) -> Session:
    """Thousands of keys whose tasks are in line, scheduled, parked, running and finished."""
    with statistics(request.param, session.sql):
        invoice.delay_many(((key,), {}) for key in range(MANY))
        claims = session(claim, worker, [DEFAULT], MANY)
        half = [Outcome.succeeded(one.id, one.attempt, "1", 1.0, 2.0) for one in claims[: MANY // 2]]
        session(settle, worker, "w", half)
        noop.delay_many([((), {})] * MANY)
        invoice.delay_many(((f"ready {key}",), {}) for key in range(MANY))
        invoice.delay_many(((f"later {key}",), {}) for key in range(MANY))
        session.sql(
            "WITH taken AS (DELETE FROM djqueue_readytask WHERE task_id IN"
            " (SELECT id FROM djqueue_task WHERE args ->> 0 LIKE 'later %') RETURNING task_id)"
            " INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)"
            " SELECT now() + interval '1 day', task_id, 0, 1 FROM taken"
        )
    return session


def calls(key: object, task: Callable[..., AsyncResult] = invoice.apply_async) -> list[int]:
    """Return what a call reads that finds the task, that replaces it, and that puts it off."""
    return [
        by_call(lambda: task((key,))),
        by_call(lambda: task((key,), unique_action="replace", headers={"a": 1})),
        by_call(lambda: task((key,), unique_action="reschedule", countdown=60)),
    ]


def test_few_rows_are_read(filled: Session, worker: int):
    """One test for all, because the rows take seconds to make."""
    assert by_call(lambda: invoice.delay("new")) < FEW
    assert max(calls(MANY - 1)) < FEW  # runs
    assert max(calls(0)) < FEW  # has finished
    assert max(calls(f"later {MANY - 1}")) < FEW
    # A page of the line: it is looked up from the number on that was reached when the key was taken.
    assert max(calls("ready 0")) < FEW
    park_behind_others(filled, worker)
    assert max(calls("parked", partial(one_at_a_time.apply_async, unique_key="parked"))) < FEW
    for kind in ("later", "new"):
        given = [((f"{kind} {key}",), {}) for key in range(100)]
        assert by_call(lambda given=given: invoice.delay_many(given)) < 100 * 10
    assert by_verb(filled, prune_keys, "", LIMIT) < LIMIT * 10
    finished = filled.value("SELECT id::text FROM djqueue_task WHERE args ->> 0 = '1'")
    with connection.cursor() as cursor:
        assert by_call(lambda: retake_key(cursor, finished)) < FEW


def park_behind_others(session: Session, worker: int) -> None:
    """Park thousands of tasks of one key, and a unique one behind them."""
    one_at_a_time.delay_many([(("parked",), {})] * MANY)
    last = one_at_a_time.apply_async(("parked",), unique_key="parked")
    while session.sql("SELECT 1 FROM djqueue_readytask WHERE task_id = %s", last.id):
        session(claim, worker, [DEFAULT], 500)
    assert last.id in {task_id for (task_id,) in session.sql("SELECT task_id::text FROM djqueue_parkedtask")}
