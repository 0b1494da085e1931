"""Taking over django-celery-beat's schedules: without loss, or with the reason why not."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from io import StringIO
from typing import Any

import pytest
from django.core.management import CommandError, call_command
from django.db import connection
from django.utils import timezone

from djqueue.models import Schedule
from djqueue.schedules.rules import Source

from .beats import ADD, NOON, fire_at, new_schedule

pytestmark = pytest.mark.django_db

# As its migrations leave them, release 2.9.
TABLES = """
CREATE TABLE django_celery_beat_crontabschedule (
    id serial PRIMARY KEY, minute varchar(240), hour varchar(96), day_of_week varchar(64), day_of_month varchar(124),
    month_of_year varchar(64), timezone varchar(63)
);
CREATE TABLE django_celery_beat_intervalschedule (id serial PRIMARY KEY, every integer, period varchar(24));
CREATE TABLE django_celery_beat_solarschedule (
    id serial PRIMARY KEY, event varchar(24), latitude numeric(9, 6), longitude numeric(9, 6)
);
CREATE TABLE django_celery_beat_clockedschedule (id serial PRIMARY KEY, clocked_time timestamptz);
CREATE TABLE django_celery_beat_periodictask (
    id serial PRIMARY KEY, name varchar(200), task varchar(200), args text DEFAULT '[]', kwargs text DEFAULT '{}',
    queue varchar(200), exchange varchar(200), routing_key varchar(200), expires timestamptz,
    enabled boolean DEFAULT true, last_run_at timestamptz, total_run_count integer DEFAULT 0,
    date_changed timestamptz DEFAULT now(), description text DEFAULT '', crontab_id integer, interval_id integer,
    solar_id integer, one_off boolean DEFAULT false, start_time timestamptz, priority integer,
    headers text DEFAULT '{}', clocked_id integer, expire_seconds integer
);
"""


def insert(table: str, **values: Any) -> int:
    columns = ", ".join(values)
    with connection.cursor() as cursor:
        places = ", ".join(["%s"] * len(values))
        into = f"INSERT INTO django_celery_beat_{table} ({columns}) VALUES ({places}) RETURNING id"
        cursor.execute(into, list(values.values()))
        return int(cursor.fetchone()[0])


@pytest.fixture(autouse=True)
def tables() -> None:
    with connection.cursor() as cursor:
        cursor.execute(TABLES)


def crontab_row(**values: Any) -> int:
    fields = {"minute": "30", "hour": "4", "day_of_week": "mon-fri", "day_of_month": "*", "month_of_year": "*"}
    return insert("crontabschedule", **{**fields, "timezone": "Europe/Berlin", **values})


def task_row(name: str = "nightly", **values: Any) -> None:
    if not any(key.endswith("_id") for key in values):
        values["crontab_id"] = crontab_row()
    insert("periodictask", **{"name": name, "task": "shop.tasks.clean", **values})


def run(*options: str) -> tuple[str, int]:
    """Return what the command says, and its exit code."""
    out = StringIO()
    try:
        call_command("djqueue", "import_celery_beat", *options, stdout=out, no_color=True)
    except SystemExit as end:
        return out.getvalue(), int(end.code or 0)
    return out.getvalue(), 0


def test_a_dry_run_says_what_would_be_and_writes_nothing():
    task_row()
    said, code = run()
    assert "imports  nightly: shop.tasks.clean, at 04:30 on Monday to Friday Europe/Berlin" in said
    assert "1 can be imported, 0 refused" in said
    assert code == 0
    assert not Schedule.objects.exists()


def test_everything_of_a_row_is_taken_over():
    task_row(
        args="[1, 2]", kwargs='{"a": null}', queue="slow", headers='{"tenant": "x"}', priority=9, expire_seconds=60,
        enabled=False, description="Cleans.", start_time=NOON, expires=NOON + timedelta(days=36500), one_off=True,
        last_run_at=NOON, total_run_count=7,
    )  # fmt: skip
    said, _ = run("--write")
    assert "1 imported, 0 refused." in said
    row = Schedule.objects.get()
    assert (row.name, row.task, row.args, row.kwargs) == ("nightly", "shop.tasks.clean", [1, 2], {"a": None})
    assert (row.queue, row.priority, row.options) == ("slow", 9, {"headers": {"tenant": "x"}})
    assert (row.expression, row.timezone) == ("30 4 * * mon-fri", "Europe/Berlin")
    assert (row.expires, row.start_at, row.end_at) == (timedelta(seconds=60), NOON, NOON + timedelta(days=36500))
    assert (row.enabled, row.one_off, row.description) == (False, True, "Cleans.")
    assert (row.last_run_at, row.total_runs, row.source) == (NOON, 7, Source.ADMIN)
    assert row.next_run_at is None


@pytest.mark.parametrize(
    ("period", "every"),
    [("days", timedelta(days=3)), ("hours", timedelta(hours=3)), ("minutes", timedelta(minutes=3)),
     ("seconds", timedelta(seconds=3))],
)  # fmt: skip
def test_intervals(period: str, every: timedelta) -> None:
    task_row(interval_id=insert("intervalschedule", every=3, period=period))
    run("--write")
    assert Schedule.objects.get().every == every


def test_an_interval_goes_on_from_its_last_run():
    last = timezone.now() - timedelta(minutes=50)
    task_row(interval_id=insert("intervalschedule", every=1, period="hours"), last_run_at=last)
    run("--write")
    assert Schedule.objects.get().next_run_at == last + timedelta(hours=1)


@pytest.mark.parametrize("kind", ["interval", "crontab"])
def test_a_slot_that_came_between_celerys_beat_and_ours_is_not_lost(kind: str) -> None:
    """Celery's beat would fire it when it starts."""
    now = timezone.now()
    timing = {
        "interval": lambda: {"interval_id": insert("intervalschedule", every=7, period="days")},
        "crontab": lambda: {"crontab_id": crontab_row(minute="0", hour="0", day_of_week="*", timezone="UTC")},
    }[kind]()
    last = now - timedelta(days=7, minutes=5)
    task_row(**timing, task=ADD, args="[1, 2]", last_run_at=last)
    text, _ = run("--write")
    due_at = last + timedelta(days=7) if kind == "interval" else last.replace(hour=0, minute=0, second=0, microsecond=0)
    due_at = due_at if kind == "interval" else due_at + timedelta(days=1)
    assert f"its slot of {due_at.isoformat()} came after its last run, so the first beat fires it" in text
    schedule = Schedule.objects.get()
    assert schedule.next_run_at == due_at
    assert fire_at(now) == 1  # once, however many slots were missed
    schedule.refresh_from_db()
    assert schedule.next_run_at > now


def test_solar_and_clocked():
    pytest.importorskip("ephem")
    task_row("sun", solar_id=insert("solarschedule", event="sunset", latitude=52.5, longitude=13.4))
    later = datetime(2100, 1, 1, tzinfo=UTC)
    task_row("later", clocked_id=insert("clockedschedule", clocked_time=later), one_off=True)
    run("--write")
    sun, later_row = Schedule.objects.get(name="sun"), Schedule.objects.get(name="later")
    assert (sun.solar_event, sun.latitude, sun.longitude) == ("sunset", 52.5, 13.4)
    assert (later_row.clocked_at, later_row.next_run_at) == (later, later)


def test_what_is_over_is_imported_switched_off():
    task_row("expired", expires=NOON - timedelta(days=3650))
    task_row("past", clocked_id=insert("clockedschedule", clocked_time=NOON - timedelta(days=3650)))
    said, _ = run("--write")
    assert "it has expired, so it is imported switched off" in said
    assert "its time has passed, so it is imported switched off" in said
    assert not Schedule.objects.filter(enabled=True).exists()


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"args": "[1"}, "args are no JSON"),
        ({"kwargs": "[]"}, "expected kwargs to be a JSON object"),
        ({"exchange": "x", "routing_key": "y"}, "exchange 'x' and routing key 'y' mean nothing here"),
        ({"priority": 255}, "priority: Ensure this value is less than or equal to 100"),
        ({"queue": "with blanks"}, "queue: expected the name of a queue"),
        ({"task": "celery.backend_cleanup"}, "not needed: workers prune results by themselves"),
        ({"crontab_id": 1, "interval_id": 1}, "expected exactly one of crontab, interval, solar and clocked, got: 2"),
        ({"clocked_id": 99}, "expected exactly one of crontab, interval, solar and clocked, got: 0"),
    ],
)
def test_a_row_that_would_lose_something_is_refused_with_the_reason(values: Any, said: str) -> None:
    crontab_row()
    insert("intervalschedule", every=1, period="days")
    task_row("odd", **values)
    task_row("even")
    text, code = run("--write")
    assert f"refused  odd: {said}" in text
    assert "1 imported, 1 refused." in text
    assert code == 1
    assert Schedule.objects.get().name == "even"


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"day_of_week": "7"}, "expected day_of_week to be 0 to 6"),
        ({"day_of_month": "31", "month_of_year": "2"}, "expected day_of_month to name a day that month_of_year has"),
        ({"timezone": "Mars/Base"}, "timezone: expected a time zone"),
    ],
)
def test_crontabs_that_never_worked_are_refused(fields: Any, said: str) -> None:
    task_row(crontab_id=crontab_row(**fields))
    text, code = run()
    assert said in text
    assert code == 1


def test_intervals_that_are_too_short_are_refused():
    task_row(interval_id=insert("intervalschedule", every=5, period="microseconds"))
    assert "every: expected run_every to be 0.1 seconds to a hundred years" in run()[0]


def test_intervals_that_are_too_long_are_refused():
    task_row(interval_id=insert("intervalschedule", every=2_000_000_000, period="days"))
    text, code = run()
    assert "refused  nightly: expected an interval of at most a hundred years, got: 2000000000 days" in text
    assert code == 1


def test_it_can_be_repeated():
    task_row()
    new_schedule("ours")
    run("--write")
    text, code = run("--write")
    assert "refused  nightly: a schedule of this name is there already" in text
    assert code == 1
    assert Schedule.objects.count() == 2


def test_without_its_tables_it_says_so():
    with connection.cursor() as cursor:
        cursor.execute("DROP TABLE django_celery_beat_periodictask")
    with pytest.raises(CommandError, match="has no table django_celery_beat_periodictask"):
        run()
