"""Where limits, keys and streams meet: nobody is passed over for good, put off for ever, or slow in great numbers."""

from __future__ import annotations

import pytest
from django.db import connection, transaction

from djqueue import control
from djqueue.limits import parse_rate
from djqueue.models import RateGate, StreamTicket
from djqueue.rates import set_rate_limit
from djqueue.records import Claim, Lane, Outcome
from djqueue.store.claim import claim
from djqueue.store.conclude import conclude
from djqueue.store.patrol import SLOTS, patrol
from djqueue.store.promote import promote

from .conftest import DEFAULT, Session
from .rows_read import by_verb
from .site.cluster_limits import in_order, one_at_a_time
from .site.routing_tasks import invoice, recount, synced

pytestmark = pytest.mark.usefixtures("transactional_db")
LANES = [Lane("default!", 0), DEFAULT]
NOW = 1_800_000_000.0
MANY = 2000


def end(session: Session, worker: int, *ids: str) -> None:
    outcomes = [Outcome.succeeded(one, 1, "null", NOW, NOW + 1) for one in ids]
    assert session(conclude, worker, "w", outcomes) == set(ids)


class TestDebounce:
    def test_a_call_after_the_latest_moment_does_not_put_the_task_at_the_end_of_the_line(self, session, worker):
        result = recount.delay(1, "first")
        session.sql("UPDATE djqueue_uniquekey SET first_at = first_at - interval '200 s'")
        session.sql("UPDATE djqueue_scheduledtask SET run_at = clock_timestamp()")
        session(promote)
        invoice.delay(1)
        recount.delay(1, "second")
        assert session.places()[result.id] == "ready"
        (first,) = session(claim, worker, LANES, 1)
        assert (first.id, first.args) == (result.id, '[1, "second"]')

    def test_one_that_is_still_scheduled_then_goes_into_line_at_once(self, session):
        result = recount.delay(1, "first")
        session.sql("UPDATE djqueue_uniquekey SET first_at = first_at - interval '200 s'")
        recount.delay(1, "second")
        assert session.places() == {result.id: "ready"}


class TestPassedOver:
    """A slot becomes free while a transaction has found the task that waits for it, and so keeps it locked."""

    @pytest.fixture
    def running(self, session: Session, worker: int) -> Claim:
        one_at_a_time.delay(1)
        (one,) = session(claim, worker, LANES, 1)
        return one

    @pytest.mark.parametrize("action", ["skip", "replace", "reschedule"])
    def test_it_goes_on_when_the_transaction_has_ended(self, session, worker, running, action):
        parked = synced.delay(7)
        assert session(claim, worker, LANES, 5) == []
        with transaction.atomic():
            assert synced.apply_async((7,), unique_action=action).id == parked.id
            end(session, worker, running.id)
            assert session.places()[parked.id] == "parked"
        assert session.places()[parked.id] == "ready"
        assert [one.id for one in session(claim, worker, LANES, 5)] == [parked.id]

    def test_so_does_one_that_waits_for_a_token(self, session, worker):
        set_rate_limit(invoice.name, "1/h")
        results = [invoice.delay(number) for number in (1, 2)]
        assert [one.id for one in session(claim, worker, LANES, 5)] == [results[0].id]
        session.sql(
            "UPDATE djqueue_rategate SET wakes_at = NULL"
        )  # as who gives out tokens leaves it, if it finds none
        with transaction.atomic():
            invoice.delay(2)
        assert RateGate.objects.filter(wakes_at__isnull=False).exists()


class TestStreams:
    def test_cancelling_the_next_one_lets_the_one_after_it_go_on(self, session, worker):
        first, second = in_order.apply_async((1, 1), countdown=60), in_order.delay(1, 2)
        assert session(claim, worker, LANES, 5) == []
        control.revoke(first.id)
        assert [one.id for one in session(claim, worker, LANES, 5)] == [second.id]

    def test_ten_thousand_that_have_ended_are_dropped_in_a_few_steps(self, session, worker):
        running = in_order.delay(1, 0)
        session(claim, worker, LANES, 1)
        session.sql(
            "INSERT INTO djqueue_streamticket (gate, task_id)"
            " SELECT 'stream stream:1', gen_random_uuid() FROM generate_series(1, 10000)"
        )
        last = in_order.delay(1, 1)
        assert session(claim, worker, LANES, 1) == []
        session.sql("SET statement_timeout = '5s'")
        end(session, worker, running.id)
        assert StreamTicket.objects.count() == 0
        assert session.places()[last.id] == "ready"


class TestPatrol:
    def test_slots_are_looked_at_by_the_page_and_nothing_else_is_walked_through(self, session, worker):
        """A backlog of as many keys as tasks holds as many slots."""
        session.sql(
            "INSERT INTO djqueue_task (id, name, queue, priority, args, kwargs)"
            " SELECT gen_random_uuid(), 'a.task', 'default', 0, '[]', '{}' FROM generate_series(1, 4000)"
        )
        session.sql(
            "INSERT INTO djqueue_readytask (queue, priority, task_id, attempt)"
            " SELECT 'default!', 0, id, 0 FROM djqueue_task"
        )
        session.sql(
            "INSERT INTO djqueue_concurrencyslot (gate, number, task_id)"
            " SELECT 'key ' || to_char(row_number() OVER (), 'FM0000'), 1, id FROM djqueue_task"
        )
        (last,) = session.sql("SELECT task_id FROM djqueue_concurrencyslot ORDER BY gate DESC LIMIT 1")[0]
        session.sql("DELETE FROM djqueue_readytask WHERE task_id = %s", last)
        session.sql("DELETE FROM djqueue_task WHERE id = %s", last)
        assert by_verb(session, patrol) < 2 * SLOTS + 500
        pages, after = 1, session(patrol)
        while after:
            pages, after = pages + 1, session(patrol, after)
        assert pages == 3
        assert session.value("SELECT count(*) FROM djqueue_concurrencyslot") == 3999


class TestBulk:
    def test_thousands_of_unique_calls_are_inserted_found_and_inserted_anew_in_seconds(self, session):
        calls = [((number,), {}) for number in range(MANY)]
        with connection.cursor() as cursor:
            cursor.execute("SET statement_timeout = '20s'")
        try:
            first = invoice.delay_many(calls)
            again = invoice.delay_many(calls)
            control.revoke([result.id for result in first])
            anew = invoice.delay_many([*calls, *calls])
        finally:
            with connection.cursor() as cursor:
                cursor.execute("RESET statement_timeout")
        assert [result.id for result in again] == [result.id for result in first]
        assert all(result.created for result in anew[:MANY])
        assert [result.id for result in anew[MANY:]] == [result.id for result in anew[:MANY]]
        line = session.sql("SELECT task_id::text FROM djqueue_readytask ORDER BY seq")
        assert {row[0] for row in line} == {result.id for result in anew}


class TestRates:
    @pytest.mark.parametrize("rate", ["0.0000000001/d", "0." + "0" * 310 + "1", 1e-300])
    def test_one_that_no_timestamp_could_hold_is_refused(self, rate):
        with pytest.raises(ValueError, match=r"^expected a rate limit to be 0 \(none\) or at least one task in ten"):
            set_rate_limit(invoice.name, rate)

    @pytest.mark.parametrize("rate", [0.00001, 1e16])
    def test_a_number_that_python_writes_with_an_exponent_is_a_rate(self, session, worker, rate):
        set_rate_limit(invoice.name, rate)
        assert session.value("SELECT per_second FROM djqueue_ratelimit") == parse_rate(rate) == rate
        invoice.delay(1)
        assert len(session(claim, worker, LANES, 5)) == 1
