"""Uniqueness: of the tasks with one key, one at a time."""

from __future__ import annotations

import threading
from collections import Counter
from datetime import timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.utils import timezone

from djqueue import chain, shared_task
from djqueue.beat.firing import fire, run_now
from djqueue.calls import check_retry_options
from djqueue.decorator import define
from djqueue.enqueue import send_task
from djqueue.exceptions import TaskExists
from djqueue.models import CancelledTask, ReadyTask, RunningTask, Schedule, ScheduledTask, ScheduleRun, Task, UniqueKey
from djqueue.records import Outcome
from djqueue.results import AsyncResult
from djqueue.store.claim import claim
from djqueue.store.keys import prune_keys
from djqueue.store.lose import lose
from djqueue.store.promote import promote
from djqueue.store.release import release
from djqueue.store.retry import retry
from djqueue.store.settle import settle

from .conftest import DEFAULT, Session
from .site.routing_tasks import alone, invoice, invoice_once, recount
from .site.tasks import add, noop
from .worker_process import eventually

pytestmark = pytest.mark.usefixtures("transactional_db")
KEYED = {"unique_key": "k"}


def claimed(session: Session, worker: int) -> Any:
    (one,) = session(claim, worker, [DEFAULT], 1)
    return one


def ended(session: Session, worker: int, one: Any, outcome: Outcome | None = None) -> None:
    outcome = outcome or Outcome.succeeded(one.id, one.attempt, "1", 1.0, 2.0)
    assert session(settle, worker, "worker", [outcome]) == {one.id}


def past(seconds: float) -> Any:
    return timezone.now() - timedelta(seconds=seconds)


class TestKeys:
    def test_a_template_is_rendered_from_the_arguments_by_name(self):
        first = invoice.delay(7)
        assert UniqueKey.objects.get().key == f"{invoice.name}:invoice:7"
        assert invoice.delay(id=7).id == first.id
        assert invoice.delay(8).id != first.id
        assert Task.objects.get(pk=first.id).options == {"unique_key": f"{invoice.name}:invoice:7"}

    def test_equal_arguments_are_equal_however_they_are_passed(self):
        first = invoice_once.delay(1, {"a": 1, "b": 2})
        assert invoice_once.delay(id=1, extra={"b": 2, "a": 1}).id == first.id
        assert invoice_once.apply_async((1,), {"extra": {"a": 1, "b": 2}, "draft": False}).id == first.id
        assert invoice_once.delay(1, {"a": 1, "b": 3}).id != first.id

    def test_keys_of_different_tasks_are_different(self):
        assert noop.apply_async(**KEYED).id != add.apply_async((1, 2), **KEYED).id

    def test_a_call_may_be_unique_and_a_definition_may_be_called_without(self):
        assert noop.apply_async((5,), unique_key="x{0}").id == noop.apply_async((5, 6), unique_key="x5").id
        assert noop.apply_async((9,), unique=True).id == noop.apply_async((9,), unique=True).id
        assert invoice.apply_async((7,), unique=False).id != invoice.apply_async((7,), unique=False).id

    def test_a_task_that_is_not_known_here_can_be_unique(self):
        first = send_task("elsewhere", (1,), {"b": 2}, unique_key="{0}-{b}")
        assert send_task("elsewhere", (1,), {"b": 2}, unique_key="{0}-{b}").id == first.id

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"unique_key": "{nothing}"}, "expected unique_key of .*noop to name arguments of the call"),
            ({"unique_key": 7}, "expected unique_key of .* to be a template such as 'invoice:{id}', got: 7"),
            ({"unique": 7}, "expected unique of .* to be True or False, got: 7"),
            ({"unique": True, "unique_until": "end"}, "to be one of start, finish, got: 'end'"),
            ({"unique": True, "unique_action": "drop"}, "to be one of skip, replace, error, reschedule, got: 'drop'"),
            ({"unique": True, "unique_for": 0}, "expected unique_for to be a number of seconds above 0, got: 0"),
            ({"unique_for": 5}, "expected unique_for of .* beside unique, unique_key or debounce"),
            ({"unique_key": "x" * 600}, "to have at most 500 characters"),
            ({"debounce_max": 5, "unique": True}, "expected debounce_max of .* beside debounce"),
            ({"debounce": 5, "debounce_max": 1}, "expected debounce_max of .* to be at least debounce"),
            ({"debounce": 5, "countdown": 1}, "expected no countdown for .*: debounce=5 says when it runs"),
            ({"debounce": 5, "unique_until": "finish"}, "expected unique_until of .* to be 'start' with debounce"),
        ],
    )
    def test_bad_options_are_named_and_store_nothing(self, options, message):
        with pytest.raises((TypeError, ValueError), match=message):
            noop.apply_async((1,), **options)
        assert not Task.objects.exists()

    def test_a_definition_is_checked_when_it_is_made(self):
        with pytest.raises(ValueError, match=r"to name parameters of its function \(a\), got: '{ib}'"):
            shared_task(name="t.bad", unique_key="{ib}")(lambda a: None)
        with pytest.raises(ValueError, match="to be one of start, finish"):
            shared_task(name="t.bad", unique=True, unique_until="x")(lambda: None)

    def test_a_retry_keeps_its_key(self):
        with pytest.raises(TypeError, match="no unique_key"):
            check_retry_options("t", {"unique_key": "x"})

    def test_arguments_that_json_cannot_hold_need_a_key_of_their_own(self):
        with override_settings(DJQUEUE={"ACCEPT_CONTENT": ["json", "pickle"]}):
            with pytest.raises(Exception, match="because of unique=True"):
                noop.apply_async((object,), unique=True, serializer="pickle")
            assert noop.apply_async((object,), unique_key="o", serializer="pickle").created


class TestUntil:
    """What frees a key. Nothing else does."""

    def test_until_finish_it_is_held_while_the_task_waits_and_runs(self, session, worker):
        first = noop.apply_async(**KEYED)
        assert first.created
        second = noop.apply_async(**KEYED)
        assert (second.id, second.created) == (first.id, False)
        one = claimed(session, worker)
        assert noop.apply_async(**KEYED).id == first.id
        ended(session, worker, one)
        assert noop.apply_async(**KEYED).created

    @pytest.mark.parametrize(
        "outcome",
        [
            lambda one: Outcome.failed(one.id, one.attempt, "{}", 1.0, 2.0),
            lambda one: Outcome.cancelled(one.id, one.attempt, "{}", 1.0, 2.0),
            lambda one: Outcome.forgotten(one.id, one.attempt, 1.0, 2.0),
        ],
        ids=["failure", "cancellation", "ignored result"],
    )
    def test_every_end_frees_it(self, session, worker, outcome):
        noop.apply_async(**KEYED)
        one = claimed(session, worker)
        ended(session, worker, one, outcome(one))
        assert noop.apply_async(**KEYED).created

    def test_until_start_it_is_held_while_the_task_waits(self, session, worker):
        call = {**KEYED, "unique_until": "start"}
        first = noop.apply_async(**call)
        assert not noop.apply_async(**call).created
        claimed(session, worker)
        second = noop.apply_async(**call)
        assert second.created
        assert noop.apply_async(**call).id == second.id != first.id

    @pytest.mark.parametrize("countdown", [0.0, 60.0])
    @pytest.mark.parametrize(("until", "free"), [("finish", False), ("start", True)])
    def test_a_retry_holds_it_until_finish_and_not_until_start(self, session, worker, countdown, until, free):
        call = {"unique_key": until, "unique_until": until}
        noop.apply_async(**call)
        one = claimed(session, worker)
        plan = f'{{"countdown": {countdown}}}'
        session(retry, worker, "worker", [Outcome.retried(one.id, one.attempt, "{}", 1.0, 2.0, plan)])
        assert noop.apply_async(**call).created is free

    def test_a_lost_attempt_holds_it_until_the_crash_limit_ends_the_task(self, session, worker):
        noop.apply_async(**KEYED)
        for created in (False, True):
            one = claimed(session, worker)
            session(lose, worker, "worker", [Outcome.lost(one.id, one.attempt, "{}", 1.0)], 2)
            assert noop.apply_async(**KEYED).created is created

    def test_a_released_attempt_holds_it_again(self, session, worker):
        call = {**KEYED, "unique_until": "start"}
        noop.apply_async(**call)
        one = claimed(session, worker)
        session(release, worker, [Outcome.released(one.id, one.attempt)])
        assert not noop.apply_async(**call).created

    def test_a_cancelled_waiting_task_frees_it_at_once(self):
        first = noop.apply_async(countdown=60, **KEYED)
        first.revoke()
        assert noop.apply_async(**KEYED).created

    def test_a_note_that_cancels_a_waiting_task_frees_it(self):
        first = noop.apply_async(**KEYED)
        CancelledTask.objects.create(task_id=first.id, asked_at=timezone.now())
        assert noop.apply_async(**KEYED).created

    def test_a_waiting_task_that_has_expired_frees_it(self):
        noop.apply_async(expires=past(1), **KEYED)
        assert noop.apply_async(**KEYED).created

    def test_a_period_holds_it_whatever_becomes_of_the_task(self, session, worker):
        call = {**KEYED, "unique_for": 60}
        first = noop.apply_async(**call)
        ended(session, worker, claimed(session, worker))
        again = noop.apply_async(**call)
        assert (again.id, again.created) == (first.id, False)
        UniqueKey.objects.update(held_until=past(1))
        assert noop.apply_async(**call).created

    def test_a_period_that_is_over_frees_no_task_that_has_not_finished(self):
        noop.apply_async(unique_for=60, **KEYED)
        UniqueKey.objects.update(held_until=past(1))
        assert not noop.apply_async(unique_for=60, **KEYED).created

    def test_a_deleted_task_frees_it(self):
        first = noop.apply_async(**KEYED)
        ReadyTask.objects.all().delete()
        Task.objects.filter(pk=first.id).delete()
        assert noop.apply_async(**KEYED).created

    def test_a_task_that_stands_nowhere_blocks_nobody_for_ever(self):
        first = noop.apply_async(**KEYED)
        ReadyTask.objects.all().delete()
        assert noop.apply_async(**KEYED).created
        Task.objects.filter(pk=first.id).delete()

    def test_a_promoted_task_is_found_in_line(self, session):
        first = noop.apply_async(countdown=-1, **KEYED)
        noop.delay()
        session(promote)
        assert noop.apply_async(**KEYED).id == first.id

    def test_resuming_a_task_takes_its_key_again_or_is_refused(self, session, worker):
        first = noop.apply_async(**KEYED)
        one = claimed(session, worker)
        ended(session, worker, one, Outcome.failed(one.id, one.attempt, "{}", 1.0, 2.0))
        second = noop.apply_async(**KEYED)
        with pytest.raises(ValueError, match=f"is held by the task {second.id}"):
            AsyncResult(first.id).retry()
        second.revoke()
        AsyncResult(first.id).retry()
        assert noop.apply_async(**KEYED).id == first.id


class TestActions:
    def test_error(self):
        first = noop.apply_async(**KEYED)
        with pytest.raises(TaskExists, match=f"is held by the task {first.id}") as caught:
            noop.apply_async(unique_action="error", **KEYED)
        assert caught.value.task_id == first.id
        with transaction.atomic():  # it leaves the transaction as it was
            with pytest.raises(TaskExists):
                noop.apply_async(unique_action="error", **KEYED)
            noop.delay()
        assert Task.objects.count() == 2

    def test_replace_changes_the_waiting_task(self):
        first = noop.apply_async((1,), **KEYED)
        found = noop.apply_async((2,), {"a": 3}, queue="other", priority=4, unique_action="replace", **KEYED)
        task = Task.objects.get()
        assert str(task.pk) == first.id == found.id
        assert (task.args, task.kwargs, task.queue, task.priority) == ([2], {"a": 3}, "other", 4)
        (row,) = ReadyTask.objects.all()
        assert (row.queue, row.priority, str(row.task_id)) == ("other", 4, first.id)

    def test_replace_keeps_the_place_in_line(self, session, worker):
        noop.apply_async((1,), **KEYED)
        noop.delay("later")
        noop.apply_async((2,), unique_action="replace", **KEYED)
        assert claimed(session, worker).args == "[2]"

    def test_replace_moves_it_in_time_both_ways(self):
        noop.apply_async(**KEYED)
        noop.apply_async(countdown=60, unique_action="replace", **KEYED)
        assert (ReadyTask.objects.count(), ScheduledTask.objects.count()) == (0, 1)
        noop.apply_async(unique_action="replace", **KEYED)
        assert (ReadyTask.objects.count(), ScheduledTask.objects.count()) == (1, 0)

    def test_what_runs_is_not_replaced(self, session, worker):
        first = noop.apply_async((1,), **KEYED)
        claimed(session, worker)
        assert noop.apply_async((2,), unique_action="replace", **KEYED).id == first.id
        assert Task.objects.get().args == [1]

    def test_reschedule_changes_nothing_but_the_time(self):
        first = noop.apply_async((1,), **KEYED)
        later = noop.apply_async((2,), queue="other", countdown=60, unique_action="reschedule", **KEYED)
        assert later.id == first.id
        task = Task.objects.get()
        assert (task.args, task.queue) == ([1], "default")
        assert 50 < (ScheduledTask.objects.get().run_at - timezone.now()).total_seconds() < 61
        noop.apply_async(unique_action="reschedule", **KEYED)
        assert ReadyTask.objects.get().queue == "default"

    def test_an_id_that_is_taken_is_refused(self):
        first = noop.delay()
        with pytest.raises(ValueError, match="belongs to a task already"):
            noop.apply_async(task_id=first.id, **KEYED)
        assert not UniqueKey.objects.exists()


class TestBulk:
    def test_duplicates_within_and_before_are_found_in_one_statement(self, django_assert_num_queries):
        before = invoice.delay(3)
        with django_assert_num_queries(4):  # with the database's time, BEGIN and COMMIT
            results = invoice.delay_many([((n % 5,), {}) for n in range(20)])
        assert len({result.id for result in results}) == 5
        assert results[3].id == before.id
        assert sum(result.created for result in results) == 4
        assert Task.objects.count() == 5

    def test_with_replace_the_last_of_a_batch_wins(self):
        definition = define(lambda a, value: None, name="t.last", unique_key="{0}", unique_action="replace")
        definition.delay_many([((n % 2, n), {}) for n in range(10)])
        assert sorted(Task.objects.values_list("args", flat=True)) == [[0, 8], [1, 9]]

    def test_with_error_nothing_of_the_batch_is_stored(self):
        definition = define(lambda a: None, name="t.error", unique_key="{0}", unique_action="error")
        with pytest.raises(TaskExists):
            definition.delay_many([((1,), {}), ((2,), {}), ((1,), {})])
        assert not Task.objects.exists()

    def test_they_come_into_line_in_their_order(self, session, worker):
        invoice.delay_many([((n,), {}) for n in (5, 3, 9, 1)])
        assert [one.args for one in session(claim, worker, [DEFAULT], 9)] == ["[5]", "[3]", "[9]", "[1]"]


class TestElsewhere:
    def test_a_unique_task_is_no_step_of_a_workflow_unless_told_so(self):
        with pytest.raises(TypeError, match="is unique, and so cannot be a step of a workflow"):
            chain(invoice.si(1), noop.si()).delay()
        chain(invoice.si(1).set(unique=False), noop.si()).delay()
        assert Task.objects.count() == 2

    def test_nor_is_it_an_errback(self):
        with pytest.raises(TypeError, match="is unique, and so cannot be a step of a workflow"):
            noop.apply_async(link_error=invoice.si(1))
        result = noop.apply_async(link_error=invoice.si(1).set(unique=False))
        (errback,) = Task.objects.get(pk=result.id).options["link_error"]
        assert "unique_key" not in errback["options"]

    @pytest.mark.parametrize("option", ["link", "link_error"])
    def test_a_call_that_is_followed_by_another_is_a_workflow(self, option):
        with pytest.raises(TypeError, match="is unique, and so cannot be a step of a workflow"):
            invoice.apply_async((1,), **{option: noop.si()})
        assert not Task.objects.exists()

    def test_a_single_signature_is_a_call(self):
        assert invoice.s(1).delay().id == invoice.s(1).delay().id

    def test_a_schedule_finds_the_task_that_is_there(self):
        schedule = Schedule.objects.create(
            name="s", task=invoice.name, args=[1], kind="interval", every=timedelta(hours=1)
        )
        first = invoice.delay(1)
        assert run_now(schedule.pk) == first.id
        Schedule.objects.update(next_run_at=past(1))
        fire(connection, timezone.now())
        assert {str(run.task_id) for run in ScheduleRun.objects.all()} == {first.id}
        assert ScheduleRun.objects.filter(note="a unique task was there already").count() == 2
        assert str(Schedule.objects.get().last_task_id) == first.id
        assert Task.objects.count() == 1

    def test_eager_mode_runs_every_call(self):
        with override_settings(DJQUEUE={"ALWAYS_EAGER": True}):
            assert invoice.delay(1).get() == invoice.delay(1).get() == 1

    def test_a_plain_task_makes_no_key(self):
        noop.delay()
        noop.delay_many([((), {})])
        assert not UniqueKey.objects.exists()

    def test_a_unique_call_is_one_statement(self, django_assert_num_queries):
        for _ in range(2):
            with django_assert_num_queries(1):
                noop.apply_async(**KEYED)

    def test_the_line_is_not_walked_for_a_task_that_runs(self, session, worker):
        noop.apply_async(**KEYED)
        claimed(session, worker)
        noop.delay_many([((), {})] * 1900)
        with connection.cursor() as cursor:
            before = line_read(cursor)
            noop.apply_async(**KEYED)
            assert line_read(cursor) - before < 10


def line_read(cursor: Any) -> int:
    cursor.execute("SELECT pg_stat_force_next_flush()")
    cursor.execute("SELECT idx_tup_read FROM pg_stat_user_indexes WHERE indexrelname = 'djqueue_readytask_pkey'")
    return int(cursor.fetchone()[0])


class TestDebounce:
    def test_the_last_call_wins_with_its_arguments_and_its_time(self):
        first = recount.delay(1, "old")
        due = ScheduledTask.objects.get().run_at
        assert recount.delay(1, "new").id == first.id
        assert Task.objects.get().args == [1, "new"]
        assert ScheduledTask.objects.get().run_at > due
        assert recount.delay(2, "x").id != first.id

    def test_it_runs_at_last(self):
        first = noop.apply_async((1,), debounce=60, debounce_max=90, **KEYED)
        UniqueKey.objects.update(first_at=past(80))
        noop.apply_async((2,), debounce=60, debounce_max=90, **KEYED)
        wait = (ScheduledTask.objects.get(task_id=first.id).run_at - timezone.now()).total_seconds()
        assert 5 < wait < 11

    def test_one_that_is_in_line_already_is_put_off_again(self, session):
        noop.apply_async((1,), debounce=60, **KEYED)
        ScheduledTask.objects.update(run_at=past(1))
        session(promote)
        assert not noop.apply_async((2,), debounce=60, **KEYED).created
        assert (ReadyTask.objects.count(), ScheduledTask.objects.count()) == (0, 1)

    def test_what_has_started_is_followed_by_another(self, session, worker):
        noop.apply_async((1,), debounce=60, **KEYED)
        ScheduledTask.objects.update(run_at=past(1))
        session(promote)
        claimed(session, worker)
        assert noop.apply_async((2,), debounce=60, **KEYED).created

    def test_without_a_key_it_is_the_task_itself(self):
        assert noop.apply_async((1,), debounce=60).id == noop.apply_async((2,), debounce=60).id
        assert UniqueKey.objects.get().key == f"{noop.name}:"


class TestRaces:
    def test_many_producers_at_once_make_one_task(self, in_thread):
        number, rounds = 6, 40
        barrier = threading.Barrier(number)

        def produce() -> list[str]:
            ids = []
            for turn in range(rounds):
                barrier.wait(30)
                ids.append(noop.apply_async((turn,), unique_key="{0}").id)
            return ids

        answers = [future.result() for future in [in_thread(produce) for _ in range(number)]]
        assert all(len(set(ids)) == 1 for ids in zip(*answers, strict=True))
        assert Task.objects.count() == rounds

    @pytest.mark.parametrize("commits", [True, False])
    def test_the_second_of_two_transactions_waits_for_the_first(self, in_thread, commits):
        with transaction.atomic():
            first = noop.apply_async(**KEYED)
            second = in_thread(lambda: noop.apply_async(**KEYED))
            with pytest.raises(TimeoutError):
                second.result(0.3)
            if not commits:
                transaction.set_rollback(True)
        result = second.result(30)
        assert result.created is not commits
        assert (result.id == first.id) is commits

    def test_a_rolled_back_call_leaves_no_key(self):
        with transaction.atomic():
            noop.apply_async(**KEYED)
            transaction.set_rollback(True)
        assert noop.apply_async(**KEYED).created

    def test_what_was_found_waiting_starts_after_the_caller_commits(self, session, worker):
        first = noop.apply_async(unique_until="start", **KEYED)
        with transaction.atomic():
            assert noop.apply_async(unique_until="start", **KEYED).id == first.id
            assert session(claim, worker, [DEFAULT], 1) == []
        assert claimed(session, worker).id == first.id

    def test_calls_race_with_claims_and_no_last_argument_is_lost(self, session, worker, in_thread):
        """With replace until start, every task runs with what its last call said."""
        calls, done = 300, threading.Event()
        call = {"unique_until": "start", "unique_action": "replace", **KEYED}

        def produce() -> dict[str, int]:
            try:
                return {noop.apply_async((number,), **call).id: number for number in range(calls)}
            finally:
                done.set()

        produced = in_thread(produce)
        ran: dict[str, str] = {}
        over = False
        while not over:
            over = done.is_set()
            for one in session(claim, worker, [DEFAULT], 5):
                ran[one.id] = one.args
                ended(session, worker, one)
        assert ran == {task_id: f"[{number}]" for task_id, number in produced.result().items()}
        assert len(ran) > 1

    def test_takeovers_race_too(self, session, worker, in_thread):
        """Every round begins with a key whose task has just ended."""
        number, rounds = 6, 20
        barrier = threading.Barrier(number + 1)

        def produce() -> list[str]:
            ids = []
            for _ in range(rounds):
                barrier.wait(30)
                ids.append(noop.apply_async(**KEYED).id)
                barrier.wait(30)
            return ids

        futures = [in_thread(produce) for _ in range(number)]
        for _ in range(rounds):
            barrier.wait(30)
            barrier.wait(30)
            # Whoever begins the next round finds it running still, or ended.
            ended(session, worker, claimed(session, worker))
        answers = [future.result() for future in futures]
        states = Counter(Task.objects.values_list("result__state", flat=True))
        assert sum(states.values()) == len({task_id for ids in answers for task_id in ids})


class TestPruning:
    def age(self) -> None:
        UniqueKey.objects.update(first_at=past(300))

    def test_keys_of_finished_tasks_go_and_held_ones_stay(self, session, worker):
        for key in "abc":
            noop.apply_async(unique_key=key)
        noop.apply_async(unique_key="d", unique_for=3600)
        for one in session(claim, worker, [DEFAULT], 4):
            if not one.options.endswith(':c"}'):
                ended(session, worker, one)
        self.age()
        assert session(prune_keys, "").deleted == 2
        assert [key[-2:] for key in UniqueKey.objects.order_by("key").values_list("key", flat=True)] == [":c", ":d"]

    def test_it_goes_from_page_to_page(self, session, worker):
        invoice.delay_many([((n,), {}) for n in range(10)])
        for one in session(claim, worker, [DEFAULT], 10):
            ended(session, worker, one)
        self.age()
        after, deleted = "", 0
        for _ in range(5):
            page = session(prune_keys, after, 3)
            after, deleted = page.last, deleted + page.deleted
            if not after:
                break
        assert deleted == 10

    def test_a_key_that_was_taken_over_just_now_stays(self, session, worker):
        noop.apply_async(**KEYED)
        ended(session, worker, claimed(session, worker))
        assert session(prune_keys, "").deleted == 0


def test_workers_that_are_killed_leave_no_two_at_once_and_no_key_behind(workers, file):
    running = {worker.pid: worker for worker in [workers.run("-c", "2") for _ in range(2)]}
    calls = 0
    for _ in range(2):
        result = alone.delay(file.path, 1.0)
        assert result.created
        lease = eventually(lambda result=result: RunningTask.objects.filter(task_id=result.id).first(), what="a lease")
        running.pop(lease.worker.pid).send_to_group(9)
        new = workers.start("-c", "2")
        running[new.pid] = new
        found = result
        while not result.ready():
            found = alone.delay(file.path, 1.0)
            assert found.id == result.id or result.ready()
            calls += 1
        found.get(timeout=30)
        assert Task.objects.get(pk=result.id).result.attempt == 2
    assert calls > 10
    assert set(file.texts()) == {"alone"}
