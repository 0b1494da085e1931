"""What the statements of commands and pauses read, however many commands are kept and tasks are put off."""

from __future__ import annotations

import pytest
from django.db import connection

from djqueue import control
from djqueue.states import ScheduleReason
from djqueue.store.claim import claim
from djqueue.store.commands import KnownWorker, answer, ask, forget_commands, read_replies, read_site_command, take
from djqueue.store.pauses import bring_forward, put_off, read_pauses
from djqueue.store.workers import Counts, heartbeat

from .conftest import DEFAULT, Session
from .rows_read import STATISTICS, by_call, by_verb, statistics
from .site.tasks import add, noop

MANY = 3000
FEW = 40
LIMIT = 20
"""Tasks that were put off and are looked at in one step."""
# Commands of the last minutes that a worker has answered, and some that one did not hear that is gone.
COMMANDS = f"""
WITH command AS (
    INSERT INTO djqueue_workercommand (name, arguments, asked_at, expires_at)
    SELECT 'ping', '{{}}', now(), now() FROM generate_series(1, {MANY}) RETURNING id
)
INSERT INTO djqueue_commandreply (command_id, worker_id, worker, taken_at, answered_at)
SELECT id, %s, 'w', now(), now() FROM command
UNION ALL (SELECT id, 1000000, 'w', NULL, NULL FROM command LIMIT 10)
"""
PUT_OFF = f"""
WITH taken AS (DELETE FROM djqueue_readytask RETURNING task_id),
given AS (SELECT task_id, row_number() OVER (ORDER BY task_id) % 2 = 0 AS paused FROM taken)
INSERT INTO djqueue_scheduledtask (run_at, task_id, attempt, reason)
SELECT
    CASE WHEN paused THEN timestamptz '9999-12-31 00:00+00' ELSE now() + interval '1 day' END, task_id, 0,
    CASE WHEN paused THEN {ScheduleReason.PAUSED} ELSE {ScheduleReason.ETA} END
FROM given
"""
LEASES = f"""
INSERT INTO djqueue_runningtask (task_id, attempt, worker_id, claimed_at)
SELECT gen_random_uuid(), 1, 1000000, now() FROM generate_series(1, {20 * MANY})
"""


@pytest.fixture(params=STATISTICS)
def filled(request: pytest.FixtureRequest, session: Session, worker: int) -> Session:
    """Thousands of commands, and of tasks that a pause has put off or that have an eta."""
    with statistics(request.param, session.sql):
        session.sql(COMMANDS, worker)
        noop.delay_many([((), {})] * MANY)
        session.sql(PUT_OFF)
        control.pause(task=noop.name)
        for number in range(10):
            control.pause(key=f"customer:{number}")
    return session


def test_asking_and_answering_read_few_rows_however_many_commands_are_kept(filled: Session, worker: int):
    asked: list[int] = []
    with connection.cursor() as cursor:
        one = [KnownWorker(worker, "w", -1.0)]
        assert by_call(lambda: asked.append(ask(cursor, "ping", "{}", 60.0, one))) < FEW
        (command_id,) = asked
        assert by_verb(filled, heartbeat, worker, 60.0, Counts()) < FEW
        assert by_call(lambda: read_site_command(cursor, command_id, worker)) < FEW
        assert by_verb(filled, take, worker) < FEW
        assert by_verb(filled, answer, command_id, worker, '"pong"', None) < FEW
        assert by_call(lambda: read_replies(cursor, command_id)) < FEW
        assert read_replies(cursor, command_id)[0].value == '"pong"'


def test_commands_that_are_kept_are_read_a_few_times_when_old_ones_are_forgotten(filled: Session):
    """Once a minute, and they are few: those of the last minutes. Where there are few, both tables may be read."""
    assert by_verb(filled, forget_commands) <= 3 * (MANY + FEW)


def test_pausing_reads_few_rows_however_many_tasks_are_put_off(filled: Session):
    assert by_verb(filled, read_pauses) < FEW
    assert by_call(lambda: control.pause(queue="mail")) < FEW
    assert by_call(lambda: control.pause(task=add.name)) < FEW
    assert by_call(control.paused) < FEW
    assert by_call(lambda: control.resume(task=add.name)) < FEW


def test_what_is_put_off_is_looked_through_a_step_at_a_time(filled: Session):
    """Each row with its task and the pauses, of which there are eleven; and once more where it moves."""
    assert by_verb(filled, bring_forward, None, LIMIT) < LIMIT * 20
    control.resume(task=noop.name)
    assert by_verb(filled, bring_forward, None, LIMIT) < LIMIT * 20
    assert filled.value("SELECT count(*) FROM djqueue_scheduledtask WHERE run_at <= now()") == LIMIT


def test_putting_off_reads_what_it_moves(filled: Session, worker: int):
    results = noop.delay_many([((), {})] * LIMIT)
    filled.sql(LEASES)
    claims = filled(claim, worker, [DEFAULT], LIMIT)
    assert {one.id for one in claims} == {result.id for result in results}
    given = [(one.id, one.attempt, "9999-12-31 00:00:00+00") for one in claims]
    assert by_verb(filled, put_off, worker, given) < LIMIT * 5
    filled.sql("DELETE FROM djqueue_runningtask WHERE worker_id = 1000000")
