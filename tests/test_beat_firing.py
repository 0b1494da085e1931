"""Firing: each slot once, by any number of beats, and what becomes of slots that are late or overlap."""

from __future__ import annotations

import random
from collections.abc import Callable
from contextlib import closing
from datetime import datetime, timedelta
from typing import Any

import pytest
from django.db import connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from djqueue import crontab, signals
from djqueue.beat import firing
from djqueue.beat.beat import LONGEST_WAIT, Beat
from djqueue.beat.decide import NEVER, note_of
from djqueue.beat.firing import fire, run_now
from djqueue.doctor import schedules as doctor
from djqueue.models import ReadyTask, Schedule, ScheduledTask, ScheduleRun, Task, TaskResult
from djqueue.schedules.rules import Fate, Misfire, Overlap
from djqueue.states import State
from djqueue.store.beat import LOCK_DUE, LOOK, lock_due, look
from djqueue.store.prune_runs import prune_runs

from .beats import NOON, fates, fire_at, new_schedule, slots, task_of
from .rows_read import STATISTICS, by_call, execute, statistics

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
HOUR = timedelta(hours=1)


def finish(task: Task) -> None:
    ReadyTask.objects.filter(task_id=task.pk).delete()
    TaskResult.objects.create(
        task_id=task.pk, state=State.SUCCEEDED, attempt=1, worker="w", started_at=NOON, finished_at=NOON
    )


# A slot and its task


def test_a_slot_becomes_a_task_and_the_schedule_goes_on_to_the_next():
    schedule = new_schedule(due_at=NOON, queue="mail", priority=7, options={"headers": {"tenant": "a"}})
    assert fire_at(NOON) == 1
    task = task_of(schedule)
    assert (task.name, task.args, task.kwargs, task.queue, task.priority) == (schedule.task, [2, 3], {}, "mail", 7)
    assert task.options["headers"] == {
        "tenant": "a",
        "periodic_task_name": schedule.name,
        "due_at": NOON.isoformat(),
    }
    assert (schedule.next_run_at, schedule.last_run_at, schedule.total_runs) == (NOON + MINUTE, NOON, 1)
    assert slots(schedule, Fate.ENQUEUED) == [NOON]


def test_nothing_is_fired_before_its_time_or_twice():
    schedule = new_schedule(due_at=NOON)
    assert fire_at(NOON - timedelta(microseconds=1)) == 0
    assert fire_at(NOON) == 1
    assert fire_at(NOON) == 0
    assert slots(schedule) == [NOON]


def test_the_definition_gives_what_the_schedule_leaves_open():
    schedule = new_schedule(due_at=NOON, task="tests.site.tasks.send_mail", args=["a@b"], kwargs={"subject": "x"})
    fire_at(NOON)
    assert (task_of(schedule).queue, task_of(schedule).priority) == ("mail", 5)


def test_a_task_that_this_process_does_not_know_is_enqueued_all_the_same():
    """The worker may know it."""
    schedule = new_schedule(due_at=NOON, task="elsewhere.tasks.clean")
    fire_at(NOON)
    assert task_of(schedule).name == "elsewhere.tasks.clean"


def test_expiry_counts_from_the_firing_and_jitter_delays_the_task_not_the_slot():
    schedule = new_schedule(due_at=NOON, expires=timedelta(seconds=30), jitter=timedelta(seconds=20))
    fire_at(NOON)
    task = task_of(schedule)
    scheduled = ScheduledTask.objects.get(task_id=task.pk)
    delay = scheduled.run_at - task.created_at
    assert timedelta(0) <= delay <= timedelta(seconds=21)
    assert task.expires_at is not None
    assert timedelta(seconds=30) <= task.expires_at - NOON <= timedelta(seconds=50)
    assert slots(schedule) == [NOON]


def test_signals_of_publishing_are_sent():
    seen: list[Any] = []

    def before(sender: Any = None, headers: Any = None, **kwargs: Any) -> None:
        seen.append((sender, headers["id"]))

    signals.before_task_publish.connect(before)
    try:
        schedule = new_schedule(due_at=NOON)
        fire_at(NOON)
    finally:
        signals.before_task_publish.disconnect(before)
    assert seen == [(schedule.task, str(task_of(schedule).pk))]


# What goes wrong stays with its schedule


def test_arguments_that_do_not_fit_are_noted_and_stop_no_other_schedule():
    wrong, right = new_schedule("wrong", due_at=NOON, args=[1]), new_schedule("right", due_at=NOON)
    assert fire_at(NOON) == 1
    wrong.refresh_from_db()
    assert fates(wrong) == ["FAILED"]
    assert "missing a required argument: 'y'" in wrong.last_error
    assert (wrong.next_run_at, wrong.total_runs) == (NOON + MINUTE, 0)
    assert fates(right) == ["ENQUEUED"]


def test_a_later_success_clears_the_error():
    schedule = new_schedule(due_at=NOON, args=[1])
    fire_at(NOON)
    Schedule.objects.filter(pk=schedule.pk).update(args=[1, 2])
    fire_at(NOON + MINUTE)
    schedule.refresh_from_db()
    assert schedule.last_error == ""


def test_a_row_that_was_broken_by_hand_is_tried_again_in_a_minute_and_stops_no_other():
    broken = new_schedule("broken", due_at=NOON, kind="crontab", expression="* * * * *")
    Schedule.objects.filter(pk=broken.pk).update(expression="every now and then", next_run_at=NOON)
    right = new_schedule("right", due_at=NOON)
    assert fire_at(NOON) == 1
    broken.refresh_from_db()
    assert "expected a crontab of five fields" in broken.last_error
    assert broken.held_until == NOON + MINUTE
    assert fates(right) == ["ENQUEUED"]
    Schedule.objects.filter(pk=broken.pk).update(expression="* * * * *", next_run_at=NOON)
    assert fire_at(NOON + MINUTE) == 2
    assert slots(broken, Fate.ENQUEUED) == [NOON + MINUTE]  # the first one is older than the grace by now


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("""UPDATE djqueue_schedule SET options = '{"root_id": "x"}' WHERE name = 'wrong'""", "uuid"),
        ("UPDATE djqueue_schedule SET end_at = 'infinity' WHERE name = 'wrong'", "timestamp too large"),
    ],
)
def test_a_row_that_postgresql_or_its_driver_refuses_is_put_off_and_stops_no_other(statement: str, said: str) -> None:
    wrong, right = new_schedule("wrong", due_at=NOON), new_schedule("right", due_at=NOON)
    with connection.cursor() as cursor:
        cursor.execute(statement)
    assert fire_at(NOON) == 1
    assert fates(right) == ["ENQUEUED"]
    last_error, held_until = Schedule.objects.values_list("last_error", "held_until").get(pk=wrong.pk)
    assert said in last_error
    assert held_until == NOON + MINUTE
    Schedule.objects.filter(pk=wrong.pk).update(options={}, end_at=None, next_run_at=NOON)
    assert fire_at(NOON + MINUTE) == 2  # the first one is older than the grace by now
    assert "ENQUEUED" in fates(wrong)


def test_a_receiver_that_breaks_the_transaction_stops_no_other_schedule():
    wrong, right = new_schedule("wrong", due_at=NOON, args=[9, 9]), new_schedule("right", due_at=NOON)

    def divide(body: Any, **named: Any) -> None:
        if body[0] == [9, 9]:
            with connection.cursor() as cursor:
                cursor.execute("SELECT 1 / 0")

    signals.before_task_publish.connect(divide, weak=False)
    try:
        assert fire_at(NOON) == 1
    finally:
        signals.before_task_publish.disconnect(divide)
    wrong.refresh_from_db()
    assert "current transaction is aborted" in wrong.last_error
    assert (fates(wrong), fates(right)) == ([], ["ENQUEUED"])


def test_what_is_noted_of_an_error_is_text_that_postgresql_holds():
    assert note_of(ValueError("a\x00b\ud800")) == "ValueError: ab?"


# Slots that passed while no beat was there


@pytest.mark.parametrize(
    ("misfire", "limit", "fired"),
    [
        (Misfire.SKIP, 100, []),
        (Misfire.ONCE, 100, [NOON + 9 * MINUTE]),
        (Misfire.ALL, 100, [NOON + n * MINUTE for n in range(10)]),
        (Misfire.ALL, 3, [NOON + n * MINUTE for n in (7, 8, 9)]),
    ],
)
def test_the_misfire_rule_decides_on_missed_slots(misfire, limit, fired):
    schedule = new_schedule(due_at=NOON, misfire=misfire, misfire_limit=limit)
    now = NOON + 9 * MINUTE + timedelta(seconds=30)
    assert fire_at(now) == len(fired)
    assert slots(schedule, Fate.ENQUEUED) == fired
    assert slots(schedule, Fate.MISSED) == ([] if NOON in fired else [NOON])
    schedule.refresh_from_db()
    assert schedule.next_run_at == NOON + 10 * MINUTE


@pytest.mark.parametrize("misfire", list(Misfire))
def test_a_slot_within_the_grace_is_not_missed(misfire):
    schedule = new_schedule(due_at=NOON, misfire=misfire, every=timedelta(seconds=2))
    fire_at(NOON + timedelta(seconds=9))
    assert slots(schedule, Fate.ENQUEUED) == [NOON + timedelta(seconds=n) for n in (0, 2, 4, 6, 8)]
    assert slots(schedule, Fate.MISSED) == []


def test_a_year_without_a_beat_is_dealt_with_at_once():
    schedules = [
        new_schedule("interval", due_at=NOON, every=timedelta(seconds=1)),
        new_schedule("crontab", due_at=NOON, kind="crontab", expression="* * * * *"),
        new_schedule("cron", due_at=NOON, kind="cron", expression="*/5 * * * *"),
        new_schedule("relative", due_at=NOON, every=timedelta(hours=1), relative=True),
        new_schedule("yearly", due_at=NOON, kind="cron", expression="@yearly", misfire=Misfire.ALL),
    ]
    now = NOON + timedelta(days=365, seconds=30)
    assert fire_at(now) >= 5
    for schedule in schedules:
        schedule.refresh_from_db()
        assert schedule.next_run_at > now
        assert schedule.total_runs >= 1


@pytest.mark.parametrize("kind", [{}, {"kind": "crontab", "expression": "* * * * *"}, {"kind": "solar"}])
@override_settings(DJQUEUE={"SCHEDULE_RUNS_KEPT": None})
def test_a_clock_stepped_back_and_forth_by_an_hour_doubles_nothing(kind):
    """Forwards, the misfire rule decides on the slots left out; backwards, slots that were fired are not again."""
    if kind == {"kind": "solar"}:
        pytest.importorskip("ephem")
        kind = {"kind": "solar", "solar_event": "solar_noon", "latitude": 52.5, "longitude": 13.4}
    schedule = new_schedule(due_at=NOON, misfire=Misfire.ALL, misfire_limit=1000, **kind)
    shown = NOON
    stepped = timedelta(0)
    with closing(Beat(clock=lambda: shown)) as beat:
        for seconds in range(0, 6 * 60, 10):
            stepped += {120: HOUR, 240: -HOUR}.get(seconds, timedelta(0))
            shown = NOON + stepped + timedelta(seconds=seconds)
            beat.turn()
        shown = NOON + 2 * HOUR
        beat.turn()
        fired = beat.fired
    seen = slots(schedule, Fate.ENQUEUED)
    assert len(seen) == fired == len(set(seen))
    assert slots(schedule, Fate.MISSED) == []
    if schedule.kind != "solar":
        assert seen == [NOON + n * MINUTE for n in range(121)]
    assert Task.objects.count() == fired


def test_an_outage_of_many_schedules_is_made_up_for_in_bounded_batches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(firing, "MOST_TASKS", 15)
    for number in range(5):
        new_schedule(f"s{number}", due_at=NOON, misfire=Misfire.ALL)
    now = NOON + 9 * MINUTE
    assert fire(connection, now) == (2, 20)
    assert fire(connection, now) == (2, 20)
    assert fire(connection, now) == (1, 10)
    assert fire(connection, now) == (0, 0)


# Overlap


def test_with_skip_a_slot_is_skipped_while_the_last_task_has_not_finished():
    schedule = new_schedule(due_at=NOON, overlap=Overlap.SKIP)
    fire_at(NOON)
    fire_at(NOON + MINUTE)
    assert fates(schedule) == ["ENQUEUED", "SKIPPED"]
    finish(task_of(schedule))
    fire_at(NOON + 2 * MINUTE)
    assert fates(schedule) == ["ENQUEUED", "SKIPPED", "ENQUEUED"]
    schedule.refresh_from_db()
    assert (schedule.total_runs, schedule.total_skipped) == (2, 1)


def test_with_skip_only_the_first_of_several_late_slots_is_fired():
    schedule = new_schedule(due_at=NOON, overlap=Overlap.SKIP, every=timedelta(seconds=1))
    fire_at(NOON + timedelta(seconds=3))
    assert fates(schedule) == ["ENQUEUED", "SKIPPED", "SKIPPED", "SKIPPED"]


@pytest.mark.parametrize("misfire", [Misfire.SKIP, Misfire.ONCE])
def test_with_queue_one_slot_waits_for_the_end_of_the_last_task(misfire):
    schedule = new_schedule(due_at=NOON, overlap=Overlap.QUEUE, misfire=misfire)
    fire_at(NOON)
    first = task_of(schedule)
    for minute in (1, 2, 3):
        assert fire_at(NOON + minute * MINUTE) == 0
    schedule.refresh_from_db()
    assert schedule.next_run_at == NOON + MINUTE
    finish(first)
    now = NOON + 3 * MINUTE + timedelta(seconds=40)
    assert fire_at(now) == 1
    assert slots(schedule, Fate.ENQUEUED) == [NOON, NOON + 3 * MINUTE]
    assert fire_at(now + timedelta(seconds=2)) == 0
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.held_until) == (NOON + 4 * MINUTE, None)


def test_with_queue_and_all_every_slot_has_its_turn():
    schedule = new_schedule(due_at=NOON, overlap=Overlap.QUEUE, misfire=Misfire.ALL)
    now = NOON + 3 * MINUTE
    for _ in range(4):
        now += timedelta(seconds=1)
        assert fire_at(now) == 1
        finish(task_of(schedule))
    assert slots(schedule, Fate.ENQUEUED) == [NOON + n * MINUTE for n in range(4)]


def test_a_held_schedule_is_looked_at_every_second_and_no_more_often():
    schedule = new_schedule(due_at=NOON, overlap=Overlap.QUEUE)
    fire_at(NOON)
    fire_at(NOON + MINUTE)
    found = look(connection, NOON + MINUTE + timedelta(milliseconds=200))
    assert (found.due, found.next_in) == (False, 0.8)
    assert look(connection, NOON + MINUTE + timedelta(seconds=1)).due
    assert schedule.pk


# The end


def test_a_one_off_is_switched_off_after_its_run():
    schedule = new_schedule(due_at=NOON, one_off=True)
    fire_at(NOON)
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_run_at, schedule.total_runs) == (False, None, 1)


def test_a_clocked_schedule_runs_once():
    at = datetime(2100, 1, 1, tzinfo=NOON.tzinfo)
    schedule = new_schedule(kind="clocked", clocked_at=at)
    assert schedule.next_run_at == at
    assert fire_at(at) == 1
    assert fire_at(at + HOUR) == 0
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_run_at) == (False, None)


def test_a_clocked_schedule_for_now_runs_now_and_one_for_the_past_says_that_it_never_will():
    """Between ``now()`` and the row some time always passes."""
    now = look(connection).now
    just_now = new_schedule("just now", kind="clocked", clocked_at=now - timedelta(seconds=5))
    long_ago = new_schedule("long ago", kind="clocked", clocked_at=now - HOUR)
    assert fire_at(now) == 1
    long_ago.refresh_from_db()
    assert slots(just_now, Fate.ENQUEUED) == [just_now.clocked_at]
    assert (long_ago.enabled, long_ago.last_error) == (False, NEVER)
    Schedule.objects.filter(pk=just_now.pk).enable()
    assert fire_at(now) == 0  # its slot was noted


def test_after_the_end_nothing_is_fired():
    schedule = new_schedule(end_at=datetime(2100, 1, 1, tzinfo=NOON.tzinfo))
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=NOON, end_at=NOON + MINUTE)
    assert fire_at(NOON) == 1
    assert fire_at(NOON + MINUTE) == 1
    assert fire_at(NOON + 2 * MINUTE) == 0
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_run_at) == (False, None)


def test_an_end_that_lies_before_the_slot_switches_off():
    schedule = new_schedule(due_at=NOON)
    Schedule.objects.filter(pk=schedule.pk).update(end_at=NOON - MINUTE, next_run_at=NOON)
    assert fire_at(NOON) == 0
    schedule.refresh_from_db()
    assert not schedule.enabled


# Switching


def test_a_schedule_that_was_off_does_not_run_for_the_time_it_was_off():
    schedule = new_schedule(due_at=NOON)
    assert Schedule.objects.filter(pk=schedule.pk).disable() == 1
    assert fire_at(NOON + HOUR) == 0
    assert Schedule.objects.filter(pk=schedule.pk).enable() == 1
    schedule.refresh_from_db()
    found = look(connection)
    assert schedule.next_run_at > found.now
    assert not found.due


def test_a_schedule_that_was_switched_on_behind_our_back_gets_a_slot():
    schedule = new_schedule()
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=None)
    now = look(connection).now
    assert fire_at(now) == 0
    schedule.refresh_from_db()
    assert schedule.next_run_at == now + MINUTE


def test_update_moves_the_slot_when_the_timing_changes():
    schedule = new_schedule(every=timedelta(days=365))
    Schedule.objects.filter(pk=schedule.pk).update(every=HOUR)
    now = look(connection).now
    fire_at(now)
    schedule.refresh_from_db()
    assert schedule.next_run_at == now + HOUR
    Schedule.objects.filter(pk=schedule.pk).update(description="hourly", enabled=True)
    schedule.refresh_from_db()
    assert schedule.next_run_at == now + HOUR


def test_what_was_off_by_update_does_not_run_for_the_time_it_was_off():
    schedule = new_schedule(due_at=NOON)
    Schedule.objects.filter(pk=schedule.pk).update(enabled=False)
    assert fire_at(NOON + HOUR) == 0
    Schedule.objects.filter(pk=schedule.pk).update(enabled=True)
    assert fire_at(NOON + HOUR) == 0
    schedule.refresh_from_db()
    assert schedule.next_run_at == NOON + HOUR + MINUTE


def test_what_this_beat_cannot_compute_is_left_on_for_one_that_can():
    """As with a zone that only a newer host knows: a slot is looked for again in a minute."""
    schedule = new_schedule()
    Schedule.objects.filter(pk=schedule.pk).update(timezone="Mars/Base", next_run_at=None)
    now = look(connection).now
    assert fire_at(now) == 0
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.held_until) == (True, now + MINUTE)
    assert "Mars/Base" in schedule.last_error
    assert look(connection, now).next_in == 60.0
    Schedule.objects.filter(pk=schedule.pk).update(timezone="")
    fire_at(now + MINUTE)
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.held_until) == (now + 2 * MINUTE, None)


def test_run_now_is_a_task_and_moves_no_slot():
    schedule = new_schedule(due_at=NOON + HOUR, overlap=Overlap.QUEUE)
    task_id = run_now(schedule.pk)
    assert str(task_of(schedule).pk) == task_id
    assert (schedule.next_run_at, schedule.total_runs) == (NOON + HOUR, 1)
    assert fates(schedule) == ["BY_HAND"]
    assert run_now(0) is None


def test_run_now_says_what_is_wrong():
    schedule = new_schedule(args=[1])
    with pytest.raises(TypeError, match="missing a required argument"):
        run_now(schedule.pk)
    assert Task.objects.count() == 0


# Cost


def many(number: int, **values: Any) -> None:
    schedule = new_schedule("many")
    row = {f.attname: getattr(schedule, f.attname) for f in Schedule._meta.concrete_fields if not f.primary_key}
    Schedule.objects.bulk_create(Schedule(**{**row, "name": f"many {n}", **values}) for n in range(number))


def test_ten_thousand_schedules_cost_one_statement_while_nothing_is_due():
    later = look(connection).now + HOUR
    many(10_000, next_run_at=later)
    with closing(Beat()) as beat:
        beat.turn()  # brings in declared schedules
        with CaptureQueriesContext(connection) as queries:
            assert beat.turn() == LONGEST_WAIT
    assert len(queries) == 1


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", STATISTICS)
def test_neither_looking_nor_locking_walks_through_the_schedules(known: str) -> None:
    now = look(connection).now
    with statistics(known, execute):
        many(3_000, next_run_at=now + HOUR)
    with connection.cursor() as cursor:
        for query, parameters in ((LOOK, [None]), (LOCK_DUE, {"now": now, "limit": 500})):
            cursor.execute(f"EXPLAIN (ANALYZE, FORMAT TEXT) {query}", parameters)
            plan = "\n".join(line for (line,) in cursor.fetchall())
            assert "Seq Scan on djqueue_schedule" not in plan, plan
            assert by_call(lambda of=(query, parameters): cursor.execute(*of)) < 10


def test_two_thousand_due_at_once_are_a_few_batches():
    many(2000, next_run_at=NOON)
    with CaptureQueriesContext(connection) as queries:
        assert fire_at(NOON) == 2000
    assert len(queries) <= 5 * 10


def test_a_batch_costs_a_handful_of_statements():
    for number in range(200):
        new_schedule(f"s{number}", due_at=NOON)
    with CaptureQueriesContext(connection) as queries:
        assert fire(connection, NOON).tasks == 200
    # Savepoint of this test's transaction, its release, lock and its timeout, notes, tasks, advance.
    assert len(queries) <= 8


# Side by side


@pytest.mark.django_db(transaction=True)
def test_two_beats_take_different_schedules(in_thread: Callable[..., Any]):
    for number in range(10):
        new_schedule(f"s{number}", due_at=NOON)
    with transaction.atomic():
        mine = {row.id for row in lock_due(connection, NOON, 4)}
        others = in_thread(fire_at, NOON).result()
        assert (len(mine), others) == (4, 6)
    assert fire_at(NOON) == 4
    assert ScheduleRun.objects.count() == Task.objects.count() == 10


@pytest.mark.django_db(transaction=True)
def test_beats_that_race_fire_each_slot_once(in_thread: Callable[..., Any]):
    # A beat whose clock runs ahead of the others' finds slots missed: each of them is owed.
    for number in range(40):
        new_schedule(f"s{number}", due_at=NOON, every=timedelta(seconds=1), misfire=Misfire.ALL.value)

    def beat(seed: int) -> int:
        shuffled = random.Random(seed)
        fired = 0
        for second in range(0, 12):
            fired += fire_at(NOON + timedelta(seconds=second, milliseconds=shuffled.randrange(1000)))
        return fired

    total = sum(beat.result() for beat in [in_thread(beat, seed) for seed in range(3)])
    total += fire_at(NOON + timedelta(seconds=12))
    assert total == Task.objects.count() == 40 * 13
    runs = ScheduleRun.objects.values_list("schedule_id", "due_at")
    assert len(set(runs)) == len(runs) == 40 * 13


@pytest.mark.django_db(transaction=True)
def test_a_beat_that_dies_in_the_middle_leaves_nothing_behind():
    schedule = new_schedule(due_at=NOON)
    with transaction.atomic():
        assert fire(connection, NOON).tasks == 1
        transaction.set_rollback(True)
    assert (Task.objects.count(), slots(schedule)) == (0, [])
    assert fire_at(NOON) == 1


def test_a_slot_that_is_noted_already_is_not_fired_again():
    """As after an operator's change that put the next run back."""
    schedule = new_schedule(due_at=NOON)
    fire_at(NOON)
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=NOON)
    assert fire_at(NOON) == 0
    assert Task.objects.count() == 1
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.total_runs) == (NOON + MINUTE, 1)


def test_crontabs_are_computed_in_their_own_zone():
    schedule = new_schedule(kind="crontab", expression=crontab(30, 2).expression, timezone="America/New_York")
    due = datetime(2026, 3, 7, 7, 30, tzinfo=NOON.tzinfo)  # 02:30 EST, the day before clocks go forward
    Schedule.objects.filter(pk=schedule.pk).update(next_run_at=due)
    fire_at(due)
    schedule.refresh_from_db()
    assert schedule.next_run_at == datetime(2026, 3, 8, 7, 0, tzinfo=NOON.tzinfo)  # 03:00 EDT


# The doctor


def test_the_doctor_says_when_no_beat_runs_and_what_cannot_be_enqueued():
    def found() -> tuple[str, str]:
        (finding,) = doctor.schedules(connection)
        return finding.level, finding.found

    assert found() == ("ok", "0 enabled, none is overdue.")
    now = look(connection).now
    schedule = new_schedule("nightly", due_at=now - 2 * MINUTE, args=[1])
    assert found() == ("error", "No beat seems to run: overdue are nightly.")
    fire_at(now)
    assert found() == ("warning", "Could not be enqueued: nightly.")
    Schedule.objects.filter(pk=schedule.pk).disable()
    assert found()[0] == "ok"


# Pruning


def test_what_became_of_slots_is_forgotten_after_a_while():
    schedule = new_schedule(due_at=NOON)
    fire_at(NOON)
    now = look(connection).now
    ScheduleRun.objects.create(schedule=schedule, due_at=now, fired_at=now, fate=Fate.ENQUEUED)
    kept = (now - NOON).total_seconds() + 60
    assert prune_runs(connection, kept, 10) == 0
    assert prune_runs(connection, 3600, 10) == 1
    assert slots(schedule) == [now]
