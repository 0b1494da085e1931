"""What the statements of gates read, however many tasks are parked.

The statements are parts of blocks, so their plans are not explained but counted: the rows that they read.
"""

from __future__ import annotations

from typing import Any

import pytest

from djqueue.records import Lane, Outcome
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.gates import admit
from djqueue.store.pace import pace
from djqueue.store.patrol import let_expired_go, patrol
from djqueue.store.rates import declare_rates

from .conftest import Session
from .rows_read import STATISTICS, by_verb, statistics
from .site.cluster_limits import in_order, once_an_hour, once_an_hour_each, one_at_a_time

LANES = [Lane("default!", 0), Lane("default", 0)]
MANY = 5000
FEW = 150
"""Rows that a statement may read for one task that passes."""
# As claims leave them: many tasks of one key, and one of each of many keys.
PARK = """
INSERT INTO djqueue_parkedtask (gate, rank, task_id, attempt, slots)
SELECT CASE WHEN options ? 'gate' THEN options ->> 'gate'
    ELSE 'task ' || name || chr(31) || coalesce(options ->> 'rate_key', '') END, 0, id, 0, 1
FROM djqueue_task ORDER BY id
"""
OPEN = """
INSERT INTO djqueue_rategate (gate, kind, name, free_at, wakes_at)
SELECT DISTINCT parked.gate, 1, task.name, now(),
    now() + CASE WHEN parked.gate LIKE '%:0' THEN interval '0' ELSE '1 h' END
FROM djqueue_parkedtask AS parked
CROSS JOIN LATERAL (SELECT name FROM djqueue_task WHERE id = parked.task_id LIMIT 1) AS task
WHERE parked.gate LIKE 'task %'
"""


@pytest.fixture(params=STATISTICS)
def filled(request: pytest.FixtureRequest, session: Session, worker: int) -> Session:
    """Thousands of parked tasks: of one key, of one stream, of one limit, and one of each of many rate keys."""
    limits: dict[str, Any] = {once_an_hour.name: ("1/h", False), once_an_hour_each.name: ("1/h", False)}
    session(declare_rates, limits)
    with statistics(request.param, session.sql):
        one_at_a_time.delay_many([((7,), {})] * MANY)
        in_order.delay_many([((7, 0), {})] * MANY)
        once_an_hour.delay_many([((), {})] * MANY)
        once_an_hour_each.delay_many(((key,), {}) for key in range(MANY))
        session.sql("DELETE FROM djqueue_readytask")
        session.sql(PARK)
        session.sql(OPEN)
    return session


def test_statements_read_few_rows_however_many_tasks_are_parked(filled: Session, worker: int) -> None:
    assert by_verb(filled, admit, ["key account:7", "stream stream:7"]) < FEW
    assert by_verb(filled, pace) < FEW
    claims = filled(claim, worker, LANES, 10)
    assert len(claims) >= 3
    outcomes = [Outcome.succeeded(c.id, c.attempt, "null", 1.0, 2.0) for c in claims]
    assert by_verb(filled, conclude, worker, "w", outcomes) < 2 * FEW
    assert by_verb(filled, pace) < FEW
    assert by_verb(filled, let_expired_go) < FEW


def test_a_patrol_reads_a_part(filled: Session) -> None:
    assert by_verb(filled, patrol) < 8 * 500
