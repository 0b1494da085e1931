"""Enqueueing: a task exists exactly if the caller's data does; a call that is refused stores nothing."""

from __future__ import annotations

import asyncio
import math
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from types import MappingProxyType
from typing import Any
from zoneinfo import ZoneInfo

import psycopg
import pytest
from asgiref.sync import async_to_sync
from django.db import OperationalError, ProgrammingError, close_old_connections, connection, transaction
from django.utils import timezone
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from djqueue import AsyncResult
from djqueue.decorator import define
from djqueue.exceptions import EncodeError, TimeoutError
from djqueue.models import ReadyTask, ScheduledTask, Task
from djqueue.states import ScheduleReason
from djqueue.store import insert as insert_module
from djqueue.store import wakeup
from djqueue.store.claim import claim
from djqueue.store.wakeup import CHANNEL, DUE, INTERVAL

from .conftest import DEFAULT, until_blocked
from .site.models import Mark
from .site.tasks import add, echo, forgettable, noop, send_mail, unchecked


@contextmanager
def rolled_back() -> Iterator[None]:
    """A transaction, or a savepoint inside one, that is rolled back at its end."""
    with transaction.atomic():
        yield
        transaction.set_rollback(True)


class TestTransactions:
    def test_a_task_can_be_claimed_once_its_transaction_has_committed_and_not_before(self, session, worker):
        with transaction.atomic():
            result = noop.delay()
            assert session(claim, worker, [DEFAULT], 10) == []
        (claimed,) = session(claim, worker, [DEFAULT], 10)
        assert claimed.id == result.id

    def test_a_rollback_leaves_no_trace_of_a_task(self, session, worker):
        with rolled_back():
            Mark.objects.create(name="data")
            noop.delay()
            noop.apply_async(countdown=60)
            noop.delay_many([((), {})] * 2500)
        assert session(claim, worker, [DEFAULT], 10) == []
        assert (Task.objects.count(), ReadyTask.objects.count(), ScheduledTask.objects.count()) == (0, 0, 0)
        assert not Mark.objects.exists()

    def test_rolling_back_to_a_savepoint_removes_only_what_was_enqueued_since(self, session, worker):
        with transaction.atomic():
            before = noop.delay()
            with rolled_back():
                noop.delay()
                noop.delay_many([((), {})] * 3)
            after = noop.delay()
        assert [c.id for c in session(claim, worker, [DEFAULT], 10)] == [before.id, after.id]

    def test_a_task_enqueued_under_autocommit_can_be_claimed_at_once(self, session, worker):
        result = noop.delay()
        assert [c.id for c in session(claim, worker, [DEFAULT], 10)] == [result.id]

    def test_many_tasks_appear_together(self, session, worker):
        def calls() -> Iterator[tuple[tuple[int], dict[str, Any]]]:
            for number in range(6000):
                if number == 5500:
                    assert session(claim, worker, [DEFAULT], 10) == []
                yield (number,), {}

        noop.delay_many(calls())
        assert len(session(claim, worker, [DEFAULT], 10_000)) == 6000

    @pytest.mark.parametrize("options", [{}, {"countdown": 5}, {"priority": 3, "queue": "mail"}])
    def test_enqueueing_costs_one_statement_in_a_transaction(self, session, django_assert_num_queries, options):
        with transaction.atomic(), django_assert_num_queries(1):
            noop.apply_async((1,), {"two": 2}, **options)

    @pytest.mark.parametrize("options", [{}, {"countdown": 5}, {"priority": 3, "queue": "mail"}])
    def test_enqueueing_costs_one_statement_under_autocommit(self, session, django_assert_num_queries, options):
        with django_assert_num_queries(1):
            noop.apply_async((1,), {"two": 2}, **options)

    def test_a_task_id_that_is_taken_is_refused_and_the_transaction_stays_usable(self, session):
        with transaction.atomic():
            first = add.delay(1, 2)
            with pytest.raises(ValueError, match=f"expected task_id to be new, got: {first.id}"):
                add.apply_async((3, 4), task_id=first.id)
            with pytest.raises(ValueError, match=f"expected task_id to be new, got: {first.id}"):
                add.apply_async((3, 4), task_id=first.id, countdown=5)
            Mark.objects.create(name="still here")
        assert list(Task.objects.values_list("args", flat=True)) == [[1, 2]]
        assert Mark.objects.count() == 1

    def test_a_task_id_that_another_transaction_is_taking_is_refused_once_that_has_committed(self, session, in_thread):
        task_id = str(uuid.uuid4())
        with transaction.atomic():
            noop.apply_async(task_id=task_id)
            rival = in_thread(lambda: noop.apply_async(task_id=task_id))
            session(until_blocked)
        with pytest.raises(ValueError, match="expected task_id to be new"):
            rival.result()

    def test_a_task_id_whose_first_owner_rolled_back_is_free_again(self, session, in_thread):
        task_id = str(uuid.uuid4())
        with rolled_back():
            noop.apply_async(task_id=task_id)
            rival = in_thread(lambda: noop.apply_async(task_id=task_id))
            session(until_blocked)
        assert rival.result().id == task_id
        assert session.places() == {task_id: "ready"}


class TestConnections:
    """``delay`` keeps a cursor open from call to call; nobody must notice."""

    def test_a_connection_that_was_closed_is_opened_again(self, transactional_db):
        noop.delay()
        connection.close()
        noop.delay()
        assert Task.objects.count() == 2

    def test_a_connection_that_the_server_ended_fails_once_as_for_any_statement(self, session):
        noop.delay()
        session.sql("SELECT pg_terminate_backend(%s)", connection.connection.info.backend_pid)
        with pytest.raises(OperationalError):
            noop.delay()
        close_old_connections()
        noop.delay()
        assert Task.objects.count() == 2

    def test_after_an_error_of_the_caller_the_next_call_works(self, transactional_db):
        noop.delay()
        with rolled_back(), pytest.raises(ProgrammingError), connection.cursor() as cursor:
            cursor.execute("SELECT lemon")
        noop.delay()
        assert Task.objects.count() == 2

    def test_a_transaction_that_is_broken_takes_no_task(self, transactional_db):
        noop.delay()
        with transaction.atomic():
            transaction.set_rollback(True)
            with pytest.raises(transaction.TransactionManagementError):
                noop.delay()
        assert Task.objects.count() == 1

    def test_each_thread_enqueues_on_its_own_connection(self, transactional_db, in_thread):
        noop.delay()
        with rolled_back():
            noop.delay()
            in_thread(noop.delay).result()
        assert Task.objects.count() == 2

    def test_a_wrapper_of_the_caller_sees_the_statement(self, db):
        seen: list[str] = []

        def look(execute: Callable[..., Any], sql: str, *rest: Any) -> Any:
            seen.append(sql)
            return execute(sql, *rest)

        noop.delay()
        with connection.execute_wrapper(look):
            noop.delay()
        assert len(seen) == 1


def test_enqueueing_is_blocked_where_a_test_has_no_database():
    with pytest.raises(RuntimeError, match="Database access not allowed"):
        noop.delay()


def test_enqueueing_is_blocked_as_well_on_a_connection_that_is_open(db, django_db_blocker):
    noop.delay()
    with django_db_blocker.block(), pytest.raises(RuntimeError, match="Database access not allowed"):
        noop.delay()


class TestWakeUps:
    """Each test has a queue of its own, because a process sends at most one wake-up per queue in 20 ms."""

    @pytest.fixture
    def woken(self, connect) -> Callable[[], str]:
        """Return the queue of the next wake-up."""
        listener = connect()
        listener.sql(f"LISTEN {CHANNEL}")
        received: list[str] = []

        async def receive(connection: psycopg.AsyncConnection) -> None:
            received.extend([n.payload async for n in connection.notifies(timeout=10, stop_after=1)])

        def next_queue() -> str:
            if not received:
                listener(receive)
            return received.pop(0)

        return next_queue

    def test_a_commit_wakes_workers_of_the_queue(self, woken):
        with transaction.atomic():
            noop.apply_async(queue="woken-by-commit")
        assert woken() == "woken-by-commit"

    def test_enqueueing_under_autocommit_wakes_workers_of_the_queue(self, woken):
        noop.apply_async(queue="woken-at-once")
        assert woken() == "woken-at-once"

    def test_many_tasks_wake_workers_once(self, woken):
        with transaction.atomic():
            for _ in range(5):
                noop.apply_async(queue="woken-once")
        noop.apply_async(queue="woken-next")
        assert (woken(), woken()) == ("woken-once", "woken-next")

    def test_a_rollback_and_a_delayed_task_wake_nobody(self, woken):
        with rolled_back():
            noop.apply_async(queue="not-woken-by-rollback")
        noop.apply_async(queue="not-woken-by-schedule", countdown=60)
        noop.apply_async(queue="woken-after-all")
        assert woken() == "woken-after-all"

    @pytest.fixture
    def held_back(self, monkeypatch) -> AsyncResult:
        """The result of a task of which no worker was told, because one was told just now."""
        monkeypatch.setattr(wakeup, "INTERVAL", 3600)
        monkeypatch.setattr(wakeup, "_held_back", {})
        noop.apply_async(queue="held-back")
        return noop.apply_async(queue="held-back")

    def test_waiting_for_a_result_sends_the_wake_up_that_was_held_back(self, woken, held_back):
        assert woken() == "held-back"
        with pytest.raises(TimeoutError):
            held_back.get(timeout=0.01)
        assert woken() == "held-back"

    def test_waiting_for_a_result_leaves_a_transaction_that_is_managed_by_hand_alone(self, session, held_back):
        """What a wake-up sets for its own transaction must not weaken the caller's."""
        transaction.set_autocommit(False)
        try:
            with pytest.raises(TimeoutError):
                held_back.get(timeout=0.01)
            with connection.cursor() as cursor:
                cursor.execute("SHOW synchronous_commit")
                assert cursor.fetchone() == ("on",)
        finally:
            transaction.rollback()
            transaction.set_autocommit(True)

    def test_a_task_that_is_due_soon_tells_workers_when(self, woken):
        noop.apply_async(queue="due-soon", countdown=0.5)
        assert woken() == f"{DUE}0.500"

    def test_a_long_transaction_that_began_right_after_a_wake_up_still_wakes_workers(self, woken, session):
        noop.apply_async(queue="long")
        assert woken() == "long"
        with transaction.atomic():
            noop.apply_async(queue="long")
            session.sql("SELECT pg_sleep(%s)", 2 * INTERVAL)
        assert woken() == "long"


OBJECT = object()
CYCLE: list[Any] = []
CYCLE.append(CYCLE)
REFUSED: dict[str, tuple[Callable[[], Any], type[Exception], str]] = {
    "too few arguments": (lambda: add.delay(1), TypeError, r"add\(\) missing a required argument: 'y'"),
    "too many arguments": (lambda: add.delay(1, 2, 3), TypeError, r"add\(\) too many positional arguments"),
    "an unknown keyword": (lambda: add.delay(1, z=2), TypeError, r"add\(\) .*'[yz]'"),
    "an argument twice": (lambda: add.delay(1, 2, x=3), TypeError, r"add\(\) multiple values for argument 'x'"),
    "wrong arguments to apply_async": (lambda: add.apply_async((1,)), TypeError, "its signature is add"),
    "args that are text": (lambda: echo.apply_async("lemon"), TypeError, "list or tuple, got: 'lemon'"),
    "args that are bytes": (lambda: echo.apply_async(b"lemon"), TypeError, "list or tuple, got: b'lemon'"),
    "args that are a number": (lambda: echo.apply_async(5), TypeError, "list or tuple, got: 5"),
    "kwargs that are a list": (lambda: add.apply_async((1,), ["y"]), TypeError, "mapping|to be a dict"),
    "kwargs that are a list, unchecked": (lambda: unchecked.apply_async((1,), [2]), TypeError, r"kwargs .* got: \[2\]"),
    "kwargs with a key that is no name": (lambda: noop.apply_async(kwargs={1: 2}), TypeError, "names as keys"),
    "an empty queue name": (lambda: noop.apply_async(queue=""), ValueError, "name of a queue .* got: ''"),
    "a queue name with a space": (lambda: noop.apply_async(queue="a b"), ValueError, "got: 'a b'"),
    "a queue name with a newline": (lambda: noop.apply_async(queue="a\n"), ValueError, r"got: 'a\\n'"),
    "a queue name of 129 letters": (lambda: noop.apply_async(queue="a" * 129), ValueError, "1 to 128 letters"),
    "a queue that is no text": (lambda: noop.apply_async(queue=7), ValueError, "got: 7"),
    "a priority above 100": (lambda: noop.apply_async(priority=101), ValueError, "from -100 to 100 .* got: 101"),
    "a priority below -100": (lambda: noop.apply_async(priority=-101), ValueError, "from -100 to 100 .* -101"),
    "a fractional priority": (lambda: noop.apply_async(priority=1.5), ValueError, "got: 1.5"),
    "a priority that is a truth": (lambda: noop.apply_async(priority=True), ValueError, "got: True"),
    "a countdown that is text": (lambda: noop.apply_async(countdown="5"), ValueError, "seconds, got: '5'"),
    "a countdown of NaN": (lambda: noop.apply_async(countdown=math.nan), ValueError, "seconds, got: nan"),
    "an endless countdown": (lambda: noop.apply_async(countdown=math.inf), ValueError, "seconds, got: inf"),
    "an eta that is a number": (lambda: noop.apply_async(eta=60), ValueError, "got: 60. .* use countdown"),
    "an eta that is a date": (
        lambda: noop.apply_async(eta=datetime(2030, 1, 1).date()), ValueError, "eta to be a datetime",
    ),
    "a task_id that is a name": (lambda: noop.apply_async(task_id="lemon"), ValueError, "unique_key"),
    "NaN": (lambda: echo.delay(math.nan), EncodeError, "argument 0 of task tests.site.tasks.echo .* NaN"),
    "an infinity within": (lambda: noop.delay(1, {"a": [math.inf]}), EncodeError, "argument 1 of task"),
    "U+0000": (lambda: echo.delay("a\0b"), EncodeError, r"argument 0 .* U\+0000"),
    "U+0000 behind a backslash": (lambda: echo.delay("\\\0"), EncodeError, r"argument 0 .* U\+0000"),
    "U+0000 in a key": (lambda: noop.delay(x={"\0": 1}), EncodeError, r"argument 'x' .* U\+0000"),
    "a lone surrogate": (lambda: noop.delay(1, x="\ud83d"), EncodeError, r"argument 'x' .* lone surrogate '\\ud83d'"),
    "an object": (lambda: noop.delay(1, OBJECT), EncodeError, "argument 1 .* builtins.object is not JSON"),
    "a set": (lambda: noop.delay(x={1}), EncodeError, "argument 'x' .* builtins.set is not JSON"),
    "a cycle": (lambda: echo.delay(CYCLE), EncodeError, "argument 0 .* [Cc]ircular"),
    "an object among many": (
        lambda: echo.delay_many(((number if number < 5999 else OBJECT,), {}) for number in range(6000)),
        EncodeError, "argument 0 .* builtins.object",
    ),
    "wrong arguments among many": (
        lambda: add.delay_many(((1,) * (2 if number < 5999 else 3), {}) for number in range(6000)),
        TypeError, "too many positional",
    ),
    "a call that is no pair": (lambda: add.delay_many([(1, 2)]), TypeError, r"pairs of args and kwargs, .*\(1, 2\)"),
}  # fmt: skip


@pytest.mark.parametrize(("call", "error", "message"), REFUSED.values(), ids=REFUSED.keys())
def test_refused_by_name_with_nothing_stored_and_the_transaction_usable(db, call, error, message):
    with transaction.atomic():
        Mark.objects.create(name="before")
        with pytest.raises(error, match=message):
            call()
        Mark.objects.create(name="after")
    assert not Task.objects.exists()
    assert not ReadyTask.objects.exists()
    assert Mark.objects.count() == 2


def test_values_nested_too_deeply_are_refused_before_the_database_sees_them(db):
    nested: list[Any] = []
    for _ in range(100_000):
        nested = [nested]
    with pytest.raises(EncodeError, match=r"argument 0 .* nested too deeply"):
        echo.delay(nested)
    assert not Task.objects.exists()


@pytest.mark.parametrize("countdown", [1e12, -1e12, 1e300])
def test_a_countdown_beyond_the_calendar_is_refused_and_the_transaction_stays_usable(db, countdown):
    with pytest.raises(ValueError, match="countdown"):
        noop.apply_async(countdown=countdown)
    assert not Task.objects.exists()


class TestDefinitions:
    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"queue": "a b"}, "got: 'a b'"),
            ({"priority": 101}, "got: 101"),
            ({"name": ""}, "non-empty string, got: ''"),
        ],
    )
    def test_a_bad_default_is_refused_where_the_task_is_defined(self, options, message):
        with pytest.raises(ValueError, match=message):
            define(lambda: None, **options)

    def test_a_definition_is_called_like_its_function(self):
        assert add(1, 2) == 3
        assert add.name == "tests.site.tasks.add"
        assert define(lambda self, x: (self.name, x), bind=True, name="bound")(5) == ("bound", 5)

    def test_other_keywords_become_attributes(self):
        assert define(lambda: None, colour="yellow").colour == "yellow"

    def test_a_bound_task_is_checked_without_its_first_parameter(self, db):
        bound = define(lambda self, x: x, bind=True, name="bound")
        bound.delay(1)
        with pytest.raises(TypeError, match="too many positional"):
            bound.delay(1, 2)

    def test_arguments_are_not_checked_with_typing_off(self, db):
        unchecked.delay(1, 2, 3, z=4)
        assert Task.objects.get().args == [1, 2, 3]


class TestWhatIsStored:
    def test_the_options_of_the_definition_are_the_defaults(self, db):
        send_mail.delay("bob", subject="hi")
        task, place = Task.objects.get(), ReadyTask.objects.get()
        assert (task.name, task.args, task.kwargs) == (
            "tests.site.tasks.send_mail",
            ["bob"],
            {"subject": "hi"},
        )
        assert (task.queue, task.priority) == (place.queue, place.priority) == ("mail", 5)
        assert (place.task_id, place.attempt) == (task.id, 0)

    def test_the_options_of_the_call_win(self, db):
        send_mail.apply_async(("bob",), queue="slow", priority=0)
        place = ReadyTask.objects.get()
        assert (place.queue, place.priority) == ("slow", 0)

    def test_the_default_queue_is_a_setting(self, db, settings):
        settings.DJQUEUE = {"DEFAULT_QUEUE": "elsewhere"}
        noop.delay()
        noop.delay_many([((), {})])
        assert set(ReadyTask.objects.values_list("queue", flat=True)) == {"elsewhere"}

    def test_a_given_id_is_kept_in_its_canonical_form(self, db):
        given = uuid.uuid4()
        result = noop.apply_async(task_id=given.hex.upper())
        assert result.id == str(given) == str(Task.objects.get().id)

    def test_ids_that_are_made_sort_in_the_order_of_the_calls(self, db):
        ids = [noop.delay().id for _ in range(50)]
        assert ids == sorted(ids)

    def test_ids_are_uuids_of_version_7_that_carry_the_time(self, db):
        before = time.time_ns() // 1_000_000
        ids = [uuid.UUID(result.id) for result in [noop.delay(), *noop.delay_many([((), {})] * 3000)]]
        after = time.time_ns() // 1_000_000
        assert len(set(ids)) == 3001
        assert {(task_id.version, task_id.variant) for task_id in ids} == {(7, uuid.RFC_4122)}
        stamps = [task_id.int >> 80 for task_id in ids]
        assert stamps == sorted(stamps)
        assert before <= stamps[0] <= stamps[-1] <= after

    def test_the_result_is_ignored_if_the_definition_or_the_call_says_so(self, db):
        ignored = [
            forgettable.delay(1),
            noop.apply_async(ignore_result=True),
            *forgettable.delay_many([((2,), {})]),
        ]
        kept = forgettable.apply_async((3,), ignore_result=False)
        assert [result.get() for result in ignored] == [None, None, None]
        stored = dict(Task.objects.values_list("id", "options"))
        # Stored is only what a call says instead of the definition.
        assert [stored[uuid.UUID(result.id)] for result in ignored] == [None, {"ignore_result": True}, None]
        assert stored[uuid.UUID(kept.id)] == {"ignore_result": False}

    def test_args_may_be_any_iterable_and_kwargs_any_mapping(self, db):
        noop.apply_async(number for number in (1, 2))
        noop.apply_async(kwargs=MappingProxyType({"one": 1}))
        assert list(Task.objects.order_by("id").values_list("args", "kwargs")) == [
            ([1, 2], {}),
            ([], {"one": 1}),
        ]


class TestSchedule:
    @pytest.fixture
    def now(self, db) -> datetime:
        """The database's clock, which stands still in a transaction."""
        with connection.cursor() as cursor:
            cursor.execute("SELECT now()")
            return cursor.fetchone()[0]

    def test_a_countdown_is_counted_by_the_clock_of_the_database(self, now):
        noop.apply_async(countdown=90)
        scheduled = ScheduledTask.objects.get()
        assert timedelta(seconds=90) <= scheduled.run_at - now < timedelta(seconds=95)
        assert (scheduled.reason, scheduled.attempt) == (ScheduleReason.ETA, 0)
        assert not ReadyTask.objects.exists()

    def test_a_countdown_may_be_a_fraction(self, now):
        noop.apply_async(countdown=0.25)
        assert ScheduledTask.objects.get().run_at - now < timedelta(seconds=5)

    def test_a_countdown_wins_over_an_eta(self, now):
        noop.apply_async(countdown=90, eta=now + timedelta(days=9))
        assert ScheduledTask.objects.get().run_at - now < timedelta(seconds=95)

    def test_an_aware_eta_is_kept_to_the_microsecond(self, db):
        eta = datetime(2031, 7, 1, 12, 30, 15, 123456, tzinfo=ZoneInfo("Asia/Kathmandu"))
        noop.apply_async(eta=eta)
        assert ScheduledTask.objects.get().run_at == eta

    def test_a_naive_eta_is_in_the_current_time_zone(self, db):
        with timezone.override("Asia/Tokyo"):
            noop.apply_async(eta=datetime(2031, 7, 1, 12))
        noop.apply_async(eta=datetime(2031, 7, 2, 12))
        assert list(ScheduledTask.objects.order_by("run_at").values_list("run_at", flat=True)) == [
            datetime(2031, 7, 1, 3, tzinfo=UTC),
            datetime(2031, 7, 2, 10, tzinfo=UTC),
        ]

    @pytest.mark.parametrize("eta", [datetime.min, datetime.max])
    def test_the_ends_of_the_calendar_are_stored_or_refused_but_break_no_transaction(self, db, eta):
        try:
            noop.apply_async(eta=eta.replace(tzinfo=UTC))
        except ValueError:
            assert not Task.objects.exists()
        assert Task.objects.count() == ScheduledTask.objects.count()


NASTY = [
    "back\\slash", "\\N", "\\.", "\\n", "tab\there", "line\nbreak", "carriage\rreturn", "'quotes' \"double\"",
    "emoji \U0001f34b", "\u2028\u2029\x85", "\x01\x1f\x7f", "{braces,\"and\"}", "%s %% %(x)s", "", " ",
    None, True, -0.5, 10**30, [], {}, {"\t\\\n": {"\"": ["\\"]}},
]  # fmt: skip


class TestMany:
    @pytest.mark.parametrize("options", [{}, {"ignore_result": True, "priority": -3, "queue": "bulk"}])
    def test_insert_and_copy_store_the_same(self, db, options):
        odd = define(lambda *a, **k: None, name="odd\tname\\with\nbreaks 🍋", **options)
        calls = [((value, [value]), {"value": value, "k\\ey\t": value}) for value in NASTY]
        for call in calls:
            odd.apply_async(*call)
        few = odd.delay_many(calls)
        many = odd.delay_many(calls * (insert_module.COPY_FROM // len(calls) + 1))
        assert len(many) > insert_module.COPY_FROM > len(few)

        def rows(tasks: Any) -> list[Any]:
            fields = ("name", "queue", "priority", "args", "kwargs", "options", "max_retries", "expires_at")
            return list(tasks.order_by("id").values_list(*fields))

        few_ids = [result.id for result in few]
        many_ids = [result.id for result in many]
        one_by_one = rows(Task.objects.exclude(id__in=few_ids + many_ids))
        assert rows(Task.objects.filter(id__in=few_ids)) == one_by_one
        assert rows(Task.objects.filter(id__in=many_ids)) == one_by_one * (len(many) // len(few))

    @pytest.mark.parametrize("number", [0, 1, 10, 2000, 5001])
    def test_the_order_of_the_calls_is_the_order_of_the_line(self, db, number):
        results = echo.delay_many(((n,), {}) for n in range(number))
        line = ReadyTask.objects.order_by("seq").select_related("task")
        assert [place.task.args for place in line] == [[n] for n in range(number)]
        assert [str(place.task_id) for place in line] == [result.id for result in results]

    def test_calls_are_read_a_block_at_a_time(self, db):
        stored: dict[int, int] = {}

        def calls() -> Iterator[tuple[tuple[int], dict[str, Any]]]:
            for number in range(12_000):
                if number % 1000 == 0:
                    stored[number] = Task.objects.count()
                yield (number,), {}

        echo.delay_many(calls())
        assert stored[4000] == 0
        assert stored[5000] == stored[9000] == 5000
        assert stored[11_000] == 10_000

    def test_an_error_of_the_iterable_leaves_nothing(self, transactional_db):
        def calls() -> Iterator[tuple[tuple[int], dict[str, Any]]]:
            yield from (((number,), {}) for number in range(7000))
            yield (1 / 0,), {}

        with pytest.raises(ZeroDivisionError):
            echo.delay_many(calls())
        assert not Task.objects.exists()
        assert not ReadyTask.objects.exists()

    @given(
        values=st.lists(
            st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0")),
            min_size=1,
            max_size=10,
        )
    )
    @settings(
        max_examples=50,
        deadline=None,
        suppress_health_check=[HealthCheck.function_scoped_fixture],
        derandomize=True,
    )
    def test_copy_keeps_any_text(self, db, monkeypatch, values):
        monkeypatch.setattr(insert_module, "COPY_FROM", 1)
        results = noop.delay_many(((value,), {value: [value]}) for value in values)
        ids = [result.id for result in results]
        stored = Task.objects.filter(id__in=ids).order_by("id").values_list("args", "kwargs")
        assert list(stored) == [([value], {value: [value]}) for value in values]


class TestCoroutines:
    def test_adelay_enqueues_as_delay_does(self, db):
        result = async_to_sync(add.adelay)(1, y=2)
        task = Task.objects.get(id=result.id)
        assert (task.args, task.kwargs) == ([1], {"y": 2})

    def test_aapply_async_takes_the_options_of_apply_async(self, db):
        result = async_to_sync(add.aapply_async)((1,), {"y": 2}, countdown=60, priority=7)
        assert ScheduledTask.objects.get().task_id == uuid.UUID(result.id)
        assert Task.objects.get().priority == 7

    def test_wrong_arguments_are_refused_as_by_delay(self, db):
        with pytest.raises(TypeError, match="missing a required argument"):
            async_to_sync(add.adelay)(1)

    def test_delay_in_a_coroutine_is_refused_by_django(self, db):
        async def blocking() -> None:
            noop.delay()

        with pytest.raises(Exception, match="cannot call this from an async context"):
            asyncio.run(blocking())
