"""Where clocks are changed: fixed times once, gaps right after, repeating ones in both passes; in every zone."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import pytest
from cronsim import CronSim
from hypothesis import given, settings
from hypothesis import strategies as st

from djqueue.schedules import Timing, cron, crontab, schedule

from .wall_clock import DAY, walked, zones_with_changes

CHANGES = [change for changes in zones_with_changes().values() for change in changes]
HOUR = timedelta(hours=1)
# Minute and hour around all the changes there are; days are compared elsewhere.
LINES = [
    "30 1 * * *", "30 2 * * *", "0 2 * * *", "0 3 * * *", "15,45 0-4 * * *", "0,30 1,2 * * *", "0 0 * * *",
    "59 23 * * *", "0 */2 * * *", "*/30 * * * *", "*/7 * * * *", "5 * * * *", "*/20 1-3 * * *", "0 12 * * 0",
    "0 4 1 * *", "30 0 * * *", "1-59/2 1-3 * * *",
]  # fmt: skip


def slots(rule: Timing, start: datetime, until: datetime, zone: ZoneInfo) -> list[datetime]:
    return list(rule.between(start, until, zone))


def test_the_zones_are_those_that_are_known_to_be_odd():
    names = zones_with_changes()
    assert len(names) > 30
    assert "Australia/Lord_Howe" in names
    assert any(change.by == timedelta(hours=2) for change in CHANGES)  # Antarctica/Troll


@pytest.mark.parametrize("name", zones_with_changes())
def test_cron_strings_are_due_when_cronsim_says_so(name):
    """cronsim implements Debian's cron. It steps by whole hours, so it cannot follow Lord Howe's half hour."""
    zone = ZoneInfo(name)
    for change in zones_with_changes()[name]:
        if change.by % HOUR:
            continue
        start, until = change.moment - 8 * HOUR, change.moment + 8 * HOUR
        for line in LINES:
            expected = []
            for moment in CronSim(line, start.astimezone(zone)):
                if moment.astimezone(UTC) > until:
                    break
                expected.append(moment.astimezone(UTC))
            assert slots(cron(line), start, until, zone) == expected, (name, line, change)


@pytest.mark.parametrize("name", zones_with_changes())
def test_crontabs_are_due_when_a_clock_walked_by_the_minute_says_so(name):
    zone = ZoneInfo(name)
    for change in zones_with_changes()[name][:4]:
        start, until = change.moment - 4 * HOUR, change.moment + 5 * HOUR
        for line in LINES:
            rule = crontab.from_string(line)
            assert slots(rule, start, until, zone) == walked(rule, start, until, zone), (name, line, change)


def fields(lowest: int, highest: int) -> st.SearchStrategy[str]:
    number = st.integers(lowest, highest)
    span = st.tuples(number, number).map(lambda ends: f"{ends[0]}-{ends[1]}")
    part = st.one_of(
        number.map(str), span, st.integers(1, 40).map(lambda step: f"*/{step}"),
        st.tuples(span, st.integers(1, 20)).map(lambda both: f"{both[0]}/{both[1]}"),
    )  # fmt: skip
    return st.one_of(st.just("*"), st.lists(part, min_size=1, max_size=3).map(",".join))


@given(
    minute=fields(0, 59),
    hour=fields(0, 23),
    day_of_week=st.one_of(st.just("*"), fields(0, 6)),
    day_of_month=st.one_of(st.just("*"), fields(1, 31)),
    change=st.sampled_from(CHANGES),
    before=st.timedeltas(timedelta(0), timedelta(hours=30)),
)
@settings(max_examples=150, deadline=None)
def test_any_crontab_is_due_when_the_walked_clock_says_so(minute, hour, day_of_week, day_of_month, change, before):
    try:
        rule = crontab(minute, hour, day_of_week, day_of_month)
    except ValueError:
        return  # the 31st of a month that has none
    start, until = change.moment - before, change.moment + 5 * HOUR
    zone = ZoneInfo(change.zone)
    assert slots(rule, start, until, zone) == walked(rule, start, until, zone)


@given(
    line=st.sampled_from([*LINES, "0 0 29 2 *", "*/10 3 1 1 *", "0 9 * * 1"]),
    start=st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 31), timezones=st.just(UTC)),
    zone=st.sampled_from(sorted(zones_with_changes())).map(ZoneInfo),
)
@settings(max_examples=150, deadline=None)
def test_slots_only_go_on_and_do_not_depend_on_where_one_starts(line, start, zone):
    """Whoever looks, from whatever moment, sees the same slots: that is why any number of beats agree."""
    for rule in (crontab.from_string(line), cron(line)):
        first = rule.next_after(start, zone)
        assert first is not None
        assert first > start
        assert rule.next_after(first - timedelta(microseconds=1), zone) == first
        assert rule.next_after(start + (first - start) / 2, zone) == first
        second = rule.next_after(first, zone)
        assert second is not None
        assert second > first


@pytest.mark.parametrize(
    ("zone", "line", "day", "expected"),
    [
        # Clocks go back: a fixed time counts once, the first time.
        ("America/New_York", "30 1 * * *", "2026-11-01", ["01:30-04:00"]),
        ("Europe/Berlin", "30 2 * * *", "2026-10-25", ["02:30+02:00"]),
        # And a repeating one in both passes.
        ("Europe/Berlin", "*/30 2 * * *", "2026-10-25", ["02:00+02:00", "02:30+02:00", "02:00+01:00", "02:30+01:00"]),
        # Clocks go forward: what was left out comes right after, once.
        ("America/New_York", "30 2 * * *", "2026-03-08", ["03:00-04:00"]),
        ("Europe/Berlin", "0,30 2,3 * * *", "2026-03-29", ["03:00+02:00", "03:30+02:00"]),
        # A repeating one leaves it out.
        ("America/New_York", "0 */2 * * *", "2026-03-08", [
            "00:00-05:00", *(f"{hour:02}:00-04:00" for hour in range(4, 24, 2))
        ]),
        # Lord Howe's clocks go by half an hour.
        ("Australia/Lord_Howe", "45 1 * * *", "2026-04-05", ["01:45+11:00"]),
        ("Australia/Lord_Howe", "15 2 * * *", "2026-10-04", ["02:30+11:00"]),
        ("Australia/Lord_Howe", "*/15 1 * * *", "2026-04-05", [
            "01:00+11:00", "01:15+11:00", "01:30+11:00", "01:45+11:00", "01:30+10:30", "01:45+10:30"
        ]),
        # Where midnight does not exist.
        ("Africa/Cairo", "0 0 * * *", "2026-04-24", ["01:00+03:00"]),
    ],
)  # fmt: skip
def test_a_day_on_which_clocks_are_changed(zone, line, day, expected):
    zone = ZoneInfo(zone)
    start = datetime.fromisoformat(day).replace(tzinfo=zone) - timedelta(microseconds=1)
    until = datetime.fromisoformat(day).replace(hour=23, minute=59, tzinfo=zone)
    for rule in (crontab.from_string(line), cron(line)):
        due = [slot.astimezone(zone).isoformat()[11:] for slot in slots(rule, start, until, zone)]
        assert [text[:5] + text[8:] for text in due] == expected


@pytest.mark.parametrize("change", [c for c in CHANGES if c.zone in ("America/Los_Angeles", "Australia/Lord_Howe")][:4])
def test_an_interval_takes_no_notice_of_clocks_on_the_wall(change):
    rule, zone = schedule(3600), ZoneInfo(change.zone)
    start = change.moment - timedelta(hours=2, minutes=10)
    assert slots(rule, start, start + 5 * HOUR, zone) == [start + n * HOUR for n in range(1, 6)]


def test_a_relative_interval_keeps_to_midnight():
    zone = ZoneInfo("Europe/Berlin")
    rule = schedule(timedelta(days=1), relative=True)
    start = datetime(2026, 10, 23, 15, 20, tzinfo=zone)
    due = [slot.astimezone(zone) for slot in slots(rule, start, start + 4 * DAY, zone)]
    assert [slot.isoformat() for slot in due] == [
        "2026-10-24T00:00:00+02:00",
        "2026-10-25T00:00:00+02:00",
        "2026-10-26T00:00:00+01:00",
        "2026-10-27T00:00:00+01:00",
    ]
