"""Timings: what they accept, what they refuse by name, when they are due, and how they read in words."""

from __future__ import annotations

import pickle
from datetime import UTC, datetime, timedelta, timezone
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.test import override_settings
from hypothesis import given, settings
from hypothesis import strategies as st

from djqueue import clocked, cron, crontab, interval, schedules, solar
from djqueue.checks import check_schedules
from djqueue.schedules import Timing, schedule
from djqueue.schedules.declared import declare, declare_task
from djqueue.schedules.due import Rule, judge
from djqueue.schedules.rules import Misfire, Overlap
from djqueue.schedules.stored import timing_of, when_of
from djqueue.schedules.words import in_words

NOON = datetime(2026, 5, 4, 12, 0, tzinfo=UTC)  # a Monday
BERLIN = ZoneInfo("Europe/Berlin")
MINUTE = timedelta(minutes=1)


# crontab, as Celery has it


@pytest.mark.parametrize(
    ("fields", "expected"),
    [
        ({"minute": "*/15"}, {"minute": {0, 15, 30, 45}}),
        ({"minute": "1,13,30-34,50-59/3"}, {"minute": {1, 13, 30, 31, 32, 33, 34, 50, 53, 56, 59}}),
        ({"minute": "0, 30"}, {"minute": {0, 30}}),
        ({"hour": "22-2"}, {"hour": {22, 23, 0, 1, 2}}),
        ({"hour": "22-5/3"}, {"hour": {22, 1, 4}}),
        ({"hour": 7}, {"hour": {7}}),
        ({"hour": [7, 19]}, {"hour": {7, 19}}),
        ({"hour": range(8, 11)}, {"hour": {8, 9, 10}}),
        ({"hour": None}, {"hour": set(range(24))}),
        ({"day_of_week": "fri-mon"}, {"day_of_week": {5, 6, 0, 1}}),
        ({"day_of_week": "Monday,sun"}, {"day_of_week": {0, 1}}),
        ({"day_of_week": {0, 6}}, {"day_of_week": {0, 6}}),
        ({"day_of_month": "*/10"}, {"day_of_month": {1, 11, 21, 31}}),
        ({"month_of_year": "*/5"}, {"month_of_year": {1, 6, 11}}),
        ({"month_of_year": "nov-feb"}, {"month_of_year": {11, 12, 1, 2}}),
        ({"month_of_year": "may"}, {"month_of_year": {5}}),
    ],
)
def test_fields_are_read_as_in_celery(fields: Any, expected: Any) -> None:
    rule = crontab(**fields)
    for name, numbers in expected.items():
        assert getattr(rule, name) == numbers


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"minute": 60}, "expected minute to be 0 to 59, got: '60'"),
        ({"minute": "-1"}, "expected minute to be made of parts such as"),
        ({"minute": "*/0"}, "expected minute to have a step of 1 or more"),
        ({"minute": "5/10"}, "expected minute to have a range or [*] before the step"),
        ({"minute": ""}, "expected minute to be made of parts"),
        ({"minute": "1,,2"}, "expected minute to be made of parts"),
        ({"minute": "٣"}, "expected minute"),
        ({"hour": 24}, "expected hour to be 0 to 23"),
        ({"hour": "noon"}, "expected hour to be 0 to 23, got: 'noon'"),
        ({"day_of_month": 0}, "expected day_of_month to be 1 to 31"),
        ({"month_of_year": 13}, "expected month_of_year to be 1 to 12 or jan to dec"),
        ({"day_of_week": 7}, r"expected day_of_week to be 0 to 6 or sun to sat \(Sunday is 0\)"),
        ({"day_of_week": "mi"}, "expected day_of_week to be 0 to 6 or sun to sat"),
        (
            {"day_of_month": 31, "month_of_year": "feb,apr"},
            "expected day_of_month to name a day that month_of_year has",
        ),
        ({"hour": 1.5}, "expected hour to be a number, a string or an iterable of numbers, got: 1.5"),
        ({"hour": True}, "expected hour to be a number"),
        ({"hour": []}, "expected hour to be a number"),
        ({"hour": ["7"]}, "expected hour to be a number"),
    ],
)
def test_a_field_that_makes_no_sense_is_named(fields: Any, said: str) -> None:
    with pytest.raises((ValueError, TypeError), match=said):
        crontab(**fields)


def test_a_crontab_can_be_written_as_a_line():
    assert crontab.from_string("0 7 1-7 * mon") == crontab(0, 7, "mon", "1-7")
    with pytest.raises(ValueError, match="expected a crontab of five fields"):
        crontab.from_string("0 7 *")


def test_days_of_the_month_and_of_the_week_are_anded():
    """The first Monday of each month; in a cron string they are OR-ed, unless croniter is told otherwise."""
    first_mondays = list(crontab(0, 7, "mon", "1-7").between(NOON, NOON + timedelta(days=95), ZoneInfo("UTC")))
    assert [slot.day for slot in first_mondays] == [1, 6, 3]
    either = list(cron("0 7 1-7 * mon").between(NOON, NOON + timedelta(days=31), ZoneInfo("UTC")))
    assert all(slot.weekday() == 0 or slot.day <= 7 for slot in either)
    assert any(slot.day > 7 for slot in either)
    assert any(slot.weekday() != 0 for slot in either)


def test_timings_are_equal_by_what_they_mean_and_survive_pickling():
    assert crontab(minute="*/30") == crontab(minute="0,30")
    assert crontab(hour=7) != crontab(hour=8)
    assert interval(60) == schedule(MINUTE) == MINUTE
    for timing in (crontab(0, "22-2"), cron("@daily"), schedule(90.5), clocked(NOON)):
        assert pickle.loads(pickle.dumps(timing)) == timing
        assert timing_of(when_of(timing)) == timing
        assert len({timing, timing_of(when_of(timing))}) == 1


def test_is_due_answers_as_in_celery():
    rule = crontab(minute=0)
    due = rule.is_due(NOON - timedelta(minutes=70), now=NOON + MINUTE)
    assert (due.is_due, due.next) == (True, 59 * 60)
    due = rule.is_due(NOON, now=NOON + MINUTE)
    assert (due.is_due, due.next) == (False, 59 * 60)
    assert clocked(NOON).is_due(NOON, now=NOON + MINUTE) == (False, float("inf"))


# Cron strings


@pytest.mark.parametrize("line", ["0 7 * * 1-5", "@daily", "*/5 * * * *", "0 0 L * *", "0 0 * * 5#3", "0 0 * * 7"])
def test_cron_strings_that_croniter_reads(line: str) -> None:
    assert cron(line).next_after(NOON, BERLIN) > NOON


def test_a_sixth_field_holds_the_seconds():
    due = cron("* * * * * */20").between(NOON, NOON + MINUTE, BERLIN)
    assert [slot.second for slot in due] == [20, 40, 0]


@pytest.mark.parametrize(
    "line",
    ["61 * * * *", "* * * *", "", "* * * * * * *", "0 0 31 2 *", "@reboot", "a b c d e", "H * * * *"],
)
def test_cron_strings_that_make_no_sense(line: str) -> None:
    with pytest.raises(ValueError, match="expected a cron string"):
        cron(line)


# Intervals, once, the sun


@pytest.mark.parametrize("every", [0, -1, 0.05, float("nan"), float("inf"), "60", None, True, 1e12])
def test_an_interval_that_is_none(every: Any) -> None:
    with pytest.raises((ValueError, TypeError), match="expected run_every to be"):
        schedule(every)


def test_a_relative_interval_is_a_whole_number_of_its_unit():
    with pytest.raises(ValueError, match="whole number of days, hours, minutes or seconds"):
        schedule(timedelta(minutes=90), relative=True)
    rule = schedule(timedelta(hours=2), relative=True)
    assert rule.next_after(NOON + timedelta(minutes=20), ZoneInfo("UTC")) == NOON + timedelta(hours=2)


def test_an_interval_begins_at_its_start():
    start = NOON + timedelta(seconds=7)
    assert schedule(60).first(NOON, BERLIN) == NOON + MINUTE
    assert schedule(60).first(NOON, BERLIN, start) == start
    assert schedule(60).first(NOON + timedelta(hours=1), BERLIN, start) == start + timedelta(hours=1)


def test_a_crontab_begins_not_before_its_start():
    rule = crontab(minute=0)
    assert rule.first(NOON, BERLIN, NOON + timedelta(hours=1)) == NOON + timedelta(hours=1)
    assert rule.first(NOON, BERLIN, NOON + timedelta(minutes=61)) == NOON + timedelta(hours=2)


def test_sunset_in_berlin():
    """The almanac says 20:37 on this day."""
    pytest.importorskip("ephem")
    rule = solar("sunset", 52.52, 13.405)
    due = rule.next_after(NOON, BERLIN)
    assert due is not None
    assert abs(due - datetime(2026, 5, 4, 20, 37, tzinfo=BERLIN)) < 2 * MINUTE
    following = rule.next_after(due, BERLIN)
    assert following is not None
    assert timedelta(hours=23) < following - due < timedelta(hours=25)


def test_where_the_sun_does_not_set_the_schedule_waits_until_it_does():
    pytest.importorskip("ephem")
    due = solar("sunset", 78.2, 15.6).next_after(datetime(2026, 5, 1, tzinfo=UTC), ZoneInfo("Arctic/Longyearbyen"))
    assert due is not None
    assert due.month == 8


@given(
    event=st.sampled_from(["dawn_civil", "sunrise", "solar_noon", "sunset", "dusk_astronomical"]),
    lat=st.floats(-60, 60),
    lon=st.floats(-180, 180),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2030, 1, 1), timezones=st.just(UTC)),
)
@settings(max_examples=40, deadline=None)
def test_an_event_of_the_sun_is_found_once_from_wherever_one_looks(event, lat, lon, start):
    pytest.importorskip("ephem")
    rule = solar(event, lat, lon)
    due = rule.next_after(start, BERLIN)
    assert due > start
    assert rule.next_after(due - timedelta(microseconds=1), BERLIN) == due
    assert rule.next_after(due, BERLIN) - due > timedelta(hours=12)


@pytest.mark.parametrize(
    ("given_", "said"),
    [
        (("moonrise", 1, 1), "expected event to be one of dawn_astronomical"),
        (("sunset", 91, 0), "expected lat to be degrees from -90 to 90"),
        (("sunset", 0, "east"), "expected lon to be degrees from -180 to 180"),
        (("sunset", float("nan"), 0), "expected lat"),
    ],
)
def test_places_and_events_that_there_are_not(given_: Any, said: str) -> None:
    with pytest.raises(ValueError, match=said):
        solar(*given_)


def test_a_naive_time_is_in_the_current_zone():
    assert clocked(datetime(2026, 5, 4, 14, 0)).clocked_time == NOON
    with pytest.raises(TypeError, match="expected clocked_time to be a datetime"):
        clocked("tomorrow")  # type: ignore[arg-type]


# Due: a pure function


@given(
    timing=st.sampled_from(
        [schedule(1), schedule(7), schedule(3600), schedule(3600, relative=True), schedule(86400, relative=True),
         crontab(), crontab("*/7"), crontab(30, 2), cron("*/5 * * * *"), cron("15 3 * * 1")]
    ),
    first=st.datetimes(datetime(2026, 3, 27), datetime(2026, 3, 31), timezones=st.just(UTC)),
    late=st.timedeltas(timedelta(0), timedelta(days=2)),
    misfire=st.sampled_from(list(Misfire)),
    limit=st.integers(1, 40),
    grace=st.integers(0, 120),
)  # fmt: skip
@settings(max_examples=100, deadline=None)
def test_what_fires_is_what_walking_from_slot_to_slot_says(timing, first, late, misfire, limit, grace):
    """The short cuts for long absences change nothing."""
    due_at = timing.next_after(first, BERLIN)
    assert due_at is not None
    now = due_at + late
    walked = [due_at, *timing.between(due_at, now, BERLIN)]
    verdict = judge(timing, due_at, now, BERLIN, Rule(misfire, timedelta(seconds=grace), limit))
    on_time = [slot for slot in walked if slot >= now - timedelta(seconds=grace)]
    expected = {
        Misfire.ALL: walked[-limit:],
        Misfire.ONCE: (on_time or walked)[-limit:] if on_time else walked[-1:],
        Misfire.SKIP: on_time[-limit:],
    }[misfire]
    assert list(verdict.fire) == expected
    assert verdict.next_at == timing.next_after(walked[-1], BERLIN)
    assert verdict.missed == (due_at not in expected)
    assert verdict.next_at > now


@pytest.mark.parametrize("days", [2, 3, 7])
@pytest.mark.parametrize("away", [3, 60, 200, 399])
def test_days_of_a_relative_interval_are_counted_across_changes_of_clocks(days: int, away: int) -> None:
    timing = schedule(timedelta(days=days), relative=True)
    first = timing.first(datetime(2024, 9, 20, 5, tzinfo=UTC), BERLIN)
    assert first is not None
    now = first + timedelta(days=away, hours=3)
    assert timing.latest(first, now, BERLIN, 1) == [first, *timing.between(first, now, BERLIN)][-1:]


# In words


@pytest.mark.parametrize(
    ("timing", "words"),
    [
        (crontab(), "every minute"),
        (crontab("*/5"), "every 5 minutes"),
        (crontab(0), "every hour"),
        (crontab(15), "at minute 15 of every hour"),
        (crontab(30, 7), "at 07:30"),
        (crontab(0, "7,19"), "at 07:00 and 19:00"),
        (crontab(0, "*/2"), "every 2 hours"),
        (crontab("*/10", "9-17", "mon-fri"), "every 10 minutes of hour 9 to 17 on Monday to Friday"),
        (crontab(0, 4, day_of_month="1"), "at 04:00 on day 1 of the month"),
        (crontab(0, 4, day_of_month="1-7", day_of_week=1), "at 04:00 on Monday if it is day 1 to 7 of the month"),
        (crontab(0, 4, month_of_year="1,jul"), "at 04:00 in January and July"),
        (cron("0 4 1 * mon"), "at 04:00 on day 1 of the month or on Monday"),
        (cron("0 4 * * 0"), "at 04:00 on Sunday"),
        (cron("0 4 * * 7"), "at 04:00 on Sunday"),
        (cron("@daily"), "at 00:00"),
        (cron("0 4 * * * 30"), "0 4 * * * 30"),
        (schedule(90), "every 1 minute 30 seconds"),
        (schedule(86400, relative=True), "every 1 day, by the clock on the wall"),
        (clocked(NOON), "once, at 2026-05-04 12:00:00 UTC"),
    ],
)
def test_timings_read_as_words(timing: Timing, words: str) -> None:
    assert in_words(timing) == words


@pytest.mark.parametrize("line", ["0 0 1 0-0 0", "0 0 0-0 1 0", "0 0 1,0-0/2 1 0", "0 0 5-00 1 0"])
def test_days_and_months_begin_with_1(line: str) -> None:
    with pytest.raises(ValueError, match="days of the month and months begin with 1"):
        cron(line)


@given(
    line=st.from_regex(r"[0-9*/,-]{1,6} [0-9*/,-]{1,6} [0-9*LW/,-]{1,4} [0-9*/,-]{1,4} [0-9*#/,-]{1,4}", fullmatch=True)
)
@settings(max_examples=300, deadline=None)
def test_whatever_can_be_read_can_be_said(line: str) -> None:
    for kind in (crontab.from_string, cron):
        try:
            timing = kind(line)
        except ValueError:
            continue
        assert in_words(timing)
        slot = timing.next_after(NOON, BERLIN)
        assert slot is None or slot > NOON


# Declared in code


def test_an_entry_of_celerys_is_accepted():
    entry = {
        "task": "shop.tasks.clean",
        "schedule": crontab(minute=0, hour=4),
        "args": (1, 2),
        "kwargs": {"since": NOON},
        "options": {"queue": "slow", "priority": 3, "expires": 30, "headers": {"a": 1}},
    }
    found = declare("clean", entry)
    assert (found.task, found.when.expression, found.args) == ("shop.tasks.clean", "0 4 * * *", [1, 2])
    assert (found.queue, found.priority, found.expires) == ("slow", 3, timedelta(seconds=30))
    assert found.options == {"headers": {"a": 1}}
    assert found.kwargs["since"]["__type__"] == "datetime"


def test_everything_of_ours_can_be_declared():
    found = declare(
        "x",
        {
            "task": "t", "schedule": 60, "timezone": "Asia/Tokyo", "misfire": "all", "overlap": "queue",
            "jitter": 5, "start_at": NOON, "end_at": NOON + MINUTE, "one_off": True, "enabled": False,
            "misfire_limit": 7, "description": "d",
        },
    )  # fmt: skip
    assert (found.misfire, found.overlap, found.jitter) == (Misfire.ALL, Overlap.QUEUE, timedelta(seconds=5))
    assert (found.misfire_limit, found.one_off, found.enabled, found.timezone) == (7, True, False, "Asia/Tokyo")


@pytest.mark.parametrize(
    ("given_", "expected"),
    [
        (30, schedule(30)),
        (MINUTE, schedule(60)),
        ("*/5 * * * *", cron("*/5 * * * *")),
        (crontab(0), crontab(0)),
        (clocked(NOON), clocked(NOON)),
    ],
)
def test_what_may_stand_for_a_schedule(given_: Any, expected: Timing) -> None:
    assert timing_of(declare("x", {"task": "t", "schedule": given_}).when) == expected
    assert timing_of(declare_task("t", given_).when) == expected


def test_a_schedule_with_relative():
    found = declare("x", {"task": "t", "schedule": timedelta(days=1), "relative": True})
    assert timing_of(found.when) == schedule(timedelta(days=1), relative=True)


@pytest.mark.parametrize(
    ("entry", "said"),
    [
        ("t", "schedule 'x': expected a dict with 'task' and 'schedule'"),
        ({"schedule": 5}, "schedule 'x', task: expected the name of a task, got: None"),
        ({"task": "t"}, "schedule 'x', schedule: expected crontab"),
        ({"task": "t", "schedule": 5, "arg": []}, "unknown key 'arg'. Did you mean 'args'?"),
        ({"task": "t", "schedule": 5, "args": "ab"}, "schedule 'x', args: expected args"),
        ({"task": "t", "schedule": 5, "kwargs": [1]}, "kwargs: expected kwargs"),
        ({"task": "t", "schedule": 5, "args": [object()]}, "args: "),
        ({"task": "t", "schedule": 5, "options": {"countdown": 3}}, "options: option 'countdown' cannot stand here"),
        ({"task": "t", "schedule": 5, "options": {"queue": "a b"}}, "queue: expected the name of a queue"),
        ({"task": "t", "schedule": 5, "options": {"link": {}}}, "options: option 'link' cannot stand here: schedule a"),
        ({"task": "t\0", "schedule": 5}, "task: expected a text without NUL"),
        (
            {"task": "t", "schedule": 5, "jitter": 1e10},
            "jitter: expected seconds or a timedelta, 0 or more and at most",
        ),
        ({"task": "t", "schedule": 5, "timezone": "Mars"}, "timezone: expected a time zone such as Europe/Berlin"),
        (
            {"task": "t", "schedule": 5, "misfire": "twice"},
            "misfire: expected one of 'skip', 'once', 'all'",
        ),
        ({"task": "t", "schedule": 5, "overlap": True}, "overlap: expected one of"),
        ({"task": "t", "schedule": 5, "misfire_limit": 0}, "misfire_limit: expected a whole number from 1"),
        ({"task": "t", "schedule": 5, "start_at": "now"}, "start_at: expected a datetime"),
        ({"task": "t", "schedule": 5, "one_off": 1}, "one_off: expected True or False"),
        ({"task": "t", "schedule": crontab(), "relative": True}, "expected relative only with an interval"),
        ({"task": "t", "schedule": 5, "priority": 101}, "priority: expected priority"),
    ],
)
def test_an_entry_that_makes_no_sense_is_named_with_its_key(entry: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:  # noqa: PT011 - the text is compared below
        declare("x", entry)
    assert said in str(caught.value)
    with override_settings(DJQUEUE={"SCHEDULES": {"x": entry}}):
        (error,) = check_schedules(None)
    assert (error.id, error.msg) == ("djqueue.E005", str(caught.value))


@pytest.mark.parametrize("name", ["n" * 501, "a\0b", "a\ud800"])
def test_a_name_that_no_row_can_have_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"expected a (name of at most|text without)"):
        declare(name, {"task": "t", "schedule": 5})


def test_a_timing_of_ones_own_class_is_refused():
    class Tide(Timing):
        pass

    with pytest.raises(TypeError, match="expected a crontab, cron, schedule, clocked or solar"):
        when_of(Tide())


def test_celerys_own_objects_are_read():
    """They are what a project has that is on its way."""

    class crontab_of_celery:
        _orig_minute, _orig_hour = "0", {6, 18}
        _orig_day_of_week, _orig_day_of_month, _orig_month_of_year = "mon", "*", "*"

    found = declare("x", {"task": "t", "schedule": crontab_of_celery()})
    assert found.when.expression == "0 6,18 * * mon"


def test_offsets_are_zones_too():
    assert crontab(0, 0).next_after(NOON, timezone(timedelta(hours=3))) == NOON + timedelta(hours=9)


def test_the_names_of_celerys_module():
    assert set(schedules.__all__) == {"Timing", "clocked", "cron", "crontab", "interval", "schedule", "solar"}
