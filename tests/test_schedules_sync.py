"""Rows of schedules: validated when they are saved, and declared ones brought in without undoing what operators did."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import closing
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import IntegrityError, connection, transaction
from django.test import override_settings
from django.test.utils import CaptureQueriesContext

from djqueue import crontab, registry, shared_task
from djqueue.beat.beat import Beat
from djqueue.beat.sync import sync
from djqueue.definition import TaskDefinition
from djqueue.models import Schedule
from djqueue.models import schedules as models
from djqueue.schedules import clocked
from djqueue.schedules.rules import Source
from djqueue.store.beat import look

from .beats import ADD, NOON, fire_at, new_schedule

pytestmark = pytest.mark.django_db

MINUTE = timedelta(minutes=1)
DAY = timedelta(days=1)


def bring_in(**entries: Any) -> Any:
    with override_settings(DJQUEUE={"SCHEDULES": entries}):
        return sync("default")


def entry(**values: Any) -> dict[str, Any]:
    return {"task": ADD, "schedule": crontab(0, 4), "args": [1, 2], **values}


Clock = Callable[[datetime], None]


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Set what saving takes for the database's time."""
    return lambda now: monkeypatch.setattr(models, "database_clock", lambda using: now)


def row(name: str) -> Schedule:
    return Schedule.objects.get(name=name)


# Saving


@pytest.mark.parametrize(
    ("values", "field", "said"),
    [
        ({"kind": "crontab", "expression": "61 * * * *"}, "expression", "expected minute to be 0 to 59"),
        ({"kind": "crontab", "expression": ""}, "expression", "expected a crontab of five fields"),
        ({"kind": "cron", "expression": "0 0 31 2 *"}, "expression", "expected a cron string"),
        ({"kind": "interval", "every": None}, "every", "expected run_every to be a number of seconds"),
        ({"kind": "interval", "every": timedelta(0)}, "every", "expected run_every to be 0.1 seconds"),
        ({"kind": "clocked"}, "clocked_at", "expected clocked_time to be a datetime"),
        ({"kind": "solar", "solar_event": "moonrise"}, "solar_event", "expected event to be one of"),
        ({"kind": "tide"}, "kind", "not a valid choice"),
        ({"name": ""}, "name", "cannot be blank"),
        ({"task": ""}, "task", "cannot be blank"),
        ({"args": {}}, "args", "expected a JSON list"),
        ({"kwargs": [1]}, "kwargs", "expected a JSON object"),
        ({"queue": "a b"}, "queue", "expected the name of a queue"),
        ({"priority": 101}, "priority", "less than or equal to 100"),
        ({"options": {"eta": 1}}, "options", "option 'eta' cannot stand here"),
        ({"timezone": "Mars/Base"}, "timezone", "expected a time zone"),
        ({"start_at": NOON, "end_at": NOON}, "end_at", "expected a moment after the start"),
        ({"start_at": datetime.max.replace(tzinfo=UTC)}, "start_at", "expected a moment up to the year 9000"),
        ({"end_at": datetime.max.replace(tzinfo=UTC)}, "end_at", "expected a moment up to the year 9000"),
        ({"expires": timedelta(0)}, "expires", "expected more than 0 seconds"),
        ({"jitter": -MINUTE}, "jitter", "expected 0 seconds or more"),
        ({"expires": timedelta(days=999_999_999)}, "expires", "at most a hundred years"),
        ({"jitter": timedelta(days=999_999_999)}, "jitter", "at most a hundred years"),
        ({"name": "n" * 501}, "name", "expected a name of at most 500 characters"),
        ({"description": "a\0b"}, "description", "expected a text without NUL"),
        ({"options": {"link": {}}}, "options", "option 'link' cannot stand here"),
        ({"options": {"root_id": "x"}}, "options", "option 'root_id' cannot stand here"),
        ({"misfire_limit": 0}, "misfire_limit", "greater than or equal to 1"),
        ({"misfire": 9}, "misfire", "not a valid choice"),
    ],
)
def test_saving_names_the_field_that_makes_no_sense(values: Any, field: str, said: str) -> None:
    with pytest.raises(ValidationError) as caught:
        new_schedule(**values)
    assert said in str(caught.value.message_dict[field])
    assert not Schedule.objects.exists()


def test_the_database_refuses_rows_that_were_not_validated():
    schedule = new_schedule()
    for values in ({"name": ""}, {"every": None}, {"misfire": 9}, {"misfire_limit": 0}, {"jitter": -MINUTE}):
        with pytest.raises(IntegrityError), transaction.atomic():
            Schedule.objects.filter(pk=schedule.pk).update(**values)


def test_a_new_schedule_has_its_first_slot_ahead():
    schedule = new_schedule(kind="crontab", expression="* * * * *")
    now = look(connection).now
    assert now < schedule.next_run_at <= now + MINUTE


def test_a_schedule_that_is_off_has_no_slot():
    assert new_schedule(enabled=False).next_run_at is None


def test_one_that_is_over_before_it_begins_has_none():
    assert new_schedule(kind="clocked", clocked_at=NOON - 3650 * DAY).next_run_at is None


def test_saving_what_does_not_concern_the_timing_leaves_the_slot():
    schedule = new_schedule(due_at=NOON)
    schedule.args, schedule.description = [4, 5], "more"
    schedule.save()
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.args) == (NOON, [4, 5])


def test_saving_an_old_copy_does_not_take_back_what_a_beat_wrote():
    schedule = new_schedule(due_at=NOON)
    copy = row(schedule.name)
    fire_at(NOON)
    copy.description = "edited meanwhile"
    copy.save()
    schedule.refresh_from_db()
    assert (schedule.next_run_at, schedule.total_runs, schedule.description) == (NOON + MINUTE, 1, "edited meanwhile")
    assert fire_at(NOON) == 0


@pytest.mark.parametrize(
    "change", [{"every": 2 * MINUTE}, {"timezone": "Asia/Tokyo"}, {"kind": "cron", "expression": "@daily"}]
)
def test_a_changed_timing_begins_anew(change: Any) -> None:
    schedule = new_schedule(due_at=NOON)
    for name, value in change.items():
        setattr(schedule, name, value)
    schedule.save()
    schedule.refresh_from_db()
    assert schedule.next_run_at > look(connection).now


def test_update_or_create_validates_and_moves_the_slot_as_well():
    """Django saves only the named columns then."""
    schedule = new_schedule("poll", due_at=NOON)
    Schedule.objects.update_or_create(name="poll", defaults={"every": 2 * MINUTE})
    schedule.refresh_from_db()
    assert schedule.every == 2 * MINUTE
    assert schedule.next_run_at > look(connection).now
    with pytest.raises(ValidationError):
        Schedule.objects.update_or_create(name="poll", defaults={"timezone": "Mars"})
    Schedule.objects.update_or_create(name="poll", defaults={"enabled": False})
    schedule.refresh_from_db()
    assert (schedule.enabled, schedule.next_run_at) == (False, None)


def test_rows_that_were_not_saved_one_by_one_get_their_slot_from_a_beat():
    Schedule.objects.bulk_create([Schedule(name="bulk", task=ADD, kind="interval", every=MINUTE)])
    now = look(connection).now
    fire_at(now)
    assert row("bulk").next_run_at == now + MINUTE


def test_switching_on_writes_nothing_else_and_is_all_or_nothing() -> None:
    right, wrong = new_schedule("a", enabled=False), new_schedule("b", enabled=False)
    Schedule.objects.filter(pk=wrong.pk).update(timezone="Mars/Base")
    with pytest.raises(ValidationError, match="Mars/Base"):
        Schedule.objects.enable()
    assert not Schedule.objects.filter(enabled=True).exists()
    with CaptureQueriesContext(connection) as queries:
        assert Schedule.objects.filter(pk=right.pk).enable() == 1
    (update,) = [query["sql"] for query in queries if query["sql"].startswith("UPDATE")]
    assert '"description"' not in update.partition("WHERE")[0]


def test_the_next_slots_of_a_row():
    schedule = new_schedule(kind="crontab", expression="0 4 * * *", timezone="Europe/Berlin", end_at=NOON + 3 * DAY)
    assert schedule.next_slots(5, NOON) == [datetime(2026, 5, day, 2, tzinfo=UTC) for day in (5, 6, 7)]


# Declared in code


def test_declared_schedules_are_added_once():
    assert bring_in(nightly=entry(), often=entry(schedule=30)).added == ("nightly", "often")
    nightly = row("nightly")
    assert (nightly.source, nightly.expression, nightly.args, nightly.enabled) == (
        Source.CODE,
        "0 4 * * *",
        [1, 2],
        True,
    )
    assert nightly.next_run_at is not None
    again = bring_in(nightly=entry(), often=entry(schedule=30))
    assert (again.added, again.changed) == ((), ())


def test_syncing_again_moves_no_slot():
    bring_in(often=entry(schedule=30))
    before = row("often").next_run_at
    bring_in(often=entry(schedule=30))
    assert row("often").next_run_at == before


def test_what_changed_in_the_code_is_brought_in():
    bring_in(nightly=entry())
    synced = bring_in(nightly=entry(schedule=crontab(30, 5), args=[7, 8], options={"queue": "slow", "expires": 60}))
    assert synced.changed == ("nightly",)
    nightly = row("nightly")
    assert (nightly.expression, nightly.args, nightly.queue) == ("30 5 * * *", [7, 8], "slow")
    assert nightly.expires == MINUTE


def test_what_an_operator_changed_stays_and_the_rest_follows_the_code():
    bring_in(nightly=entry())
    nightly = row("nightly")
    nightly.expression, nightly.enabled = "15 3 * * *", False
    nightly.save()
    bring_in(nightly=entry())
    bring_in(nightly=entry(schedule=crontab(30, 5), args=[7, 8]))
    nightly = row("nightly")
    assert (nightly.expression, nightly.enabled, nightly.args) == ("15 3 * * *", False, [7, 8])


def test_what_operator_and_code_contradict_in_stops_no_other_schedule():
    bring_in(nightly=entry(), often=entry(schedule=30))
    nightly = row("nightly")
    nightly.start_at = look(connection).now + 2 * DAY
    nightly.save()
    synced = bring_in(nightly=entry(end_at=look(connection).now + DAY), often=entry(schedule=60))
    assert synced.changed == ("often",)
    assert row("nightly").end_at is None


def test_a_row_of_the_admin_is_left_alone():
    new_schedule("nightly", args=[9, 9])
    synced = bring_in(nightly=entry())
    assert synced.taken == ("nightly",)
    assert (row("nightly").args, row("nightly").source) == ([9, 9], Source.ADMIN)


def test_what_is_no_longer_declared_is_switched_off_and_comes_back_when_it_is():
    new_schedule("of the admin")
    bring_in(nightly=entry())
    assert bring_in().retired == ("nightly",)
    nightly = row("nightly")
    assert (nightly.enabled, nightly.next_run_at) == (False, None)
    assert row("of the admin").enabled
    assert bring_in().retired == ()
    bring_in(nightly=entry(args=[3, 4]))
    nightly = row("nightly")
    assert (nightly.enabled, nightly.args) == (True, [3, 4])
    assert nightly.next_run_at is not None


def test_one_that_an_operator_switched_off_stays_off_through_all_of_that():
    bring_in(nightly=entry())
    Schedule.objects.disable()
    bring_in(nightly=entry(args=[3, 4]))
    assert not row("nightly").enabled


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize(
    "statement",
    [
        "SELECT pg_advisory_xact_lock(hashtext('djqueue.schedules'))",
        "SELECT FROM djqueue_schedule WHERE source = 1 FOR UPDATE",
    ],
)
def test_a_transaction_that_somebody_leaves_open_holds_up_no_beat(statement: str, caplog: Any) -> None:
    bring_in(nightly=entry())
    due = new_schedule("due", due_at=NOON)
    entries = {"nightly": entry(args=[3, 4])}
    with closing(connection.copy()) as other, override_settings(DJQUEUE={"SCHEDULES": entries}):
        other.set_autocommit(False)
        with other.cursor() as cursor:
            cursor.execute(statement)
        with closing(Beat()) as beat:
            beat.turn()
            due.refresh_from_db()
            assert due.total_runs == 1
            assert "could not be brought in" in caplog.text
            assert row("nightly").args == [1, 2]
            other.rollback()
            beat._next_sync = 0.0
            beat.turn()
            assert row("nightly").args == [3, 4]


def test_one_that_an_operator_switched_on_is_on_again_when_it_is_declared_again():
    bring_in(nightly=entry(enabled=False))
    Schedule.objects.enable()
    bring_in()
    assert not row("nightly").enabled
    bring_in(nightly=entry(enabled=False))
    assert row("nightly").enabled


def test_one_that_is_declared_off_when_it_comes_back_stays_off():
    bring_in(nightly=entry())
    bring_in()
    bring_in(nightly=entry(enabled=False))
    assert not row("nightly").enabled


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ({"schedule": clocked(NOON)}, {"schedule": clocked(NOON + DAY)}),
        ({"schedule": MINUTE, "end_at": NOON + MINUTE}, {"schedule": MINUTE, "end_at": NOON + DAY}),
        ({"schedule": MINUTE, "one_off": True}, {"schedule": MINUTE}),
    ],
)
def test_what_was_over_goes_on_when_the_code_says_a_later_time(before: Any, after: Any, clock: Clock) -> None:
    """A beat switched it off, and no operator."""
    clock(NOON - MINUTE)
    bring_in(once=entry(**before))
    fire_at(NOON)
    fire_at(NOON + 2 * MINUTE)
    clock(NOON + 3 * MINUTE)
    assert not row("once").enabled
    assert bring_in(once=entry(**before)).changed == ()
    bring_in(once=entry(**before, args=[3, 4]))
    assert not row("once").enabled
    bring_in(once=entry(**after, args=[3, 4]))
    assert row("once").next_run_at is not None


def test_what_was_over_and_then_switched_off_by_an_operator_stays_off(clock: Clock) -> None:
    clock(NOON - MINUTE)
    bring_in(once=entry(schedule=MINUTE, one_off=True))
    fire_at(NOON)
    clock(NOON + MINUTE)
    Schedule.objects.enable()
    Schedule.objects.disable()
    bring_in(once=entry(schedule=MINUTE))
    assert not row("once").enabled


def test_values_that_json_does_not_have_reach_the_task():
    bring_in(once=entry(args=[NOON, 1]))
    Schedule.objects.update(next_run_at=NOON)
    fire_at(NOON)
    assert row("once").last_error == ""
    assert bring_in(once=entry(args=[NOON, 1])).changed == ()


@pytest.fixture
def definitions(monkeypatch: pytest.MonkeyPatch) -> dict[str, TaskDefinition]:
    known = {ADD: registry.get(ADD)}
    monkeypatch.setattr(registry, "_definitions", known)
    return known


def test_a_task_may_declare_its_own_schedule(definitions: Any) -> None:
    @shared_task(name="shop.clean", schedule=crontab(0, 4))
    def clean() -> None:
        pass

    @shared_task(name="shop.count", schedule={"name": "count by the hour", "schedule": 3600, "kwargs": {"n": 1}})
    def count(n: int) -> None:
        pass

    assert set(bring_in().added) == {"shop.clean", "count by the hour"}
    assert row("shop.clean").task == "shop.clean"
    assert row("count by the hour").kwargs == {"n": 1}


def test_two_declarations_of_one_name_are_refused(definitions: Any) -> None:
    @shared_task(name="shop.clean", schedule=60)
    def clean() -> None:
        pass

    with pytest.raises(ImproperlyConfigured, match="two schedules are named"):
        bring_in(**{"shop.clean": entry()})


@pytest.mark.parametrize("schedule", ["61 * * * *", 0, object(), {"schedule": 5, "task": "t"}, {"every": 5}])
def test_a_task_with_a_schedule_that_makes_no_sense_is_refused_when_it_is_defined(schedule: Any) -> None:
    with pytest.raises(ValueError, match=r"schedule 'shop[.]clean'"):
        shared_task(name="shop.clean", schedule=schedule)(lambda: None)
