"""Import: schedules of django-celery-beat as schedules of ours, each without loss or refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import Any

from django.core.exceptions import ValidationError
from django.db import connections, transaction

from djqueue.models import Schedule
from djqueue.schedules import stored
from djqueue.store.beat import database_clock

# As JSON, because the columns differ from release to release; what a release does not have reads as absent.
READ = """
SELECT to_jsonb(periodic), to_jsonb(line), to_jsonb(span), to_jsonb(sun), to_jsonb(once)
FROM django_celery_beat_periodictask AS periodic
LEFT JOIN django_celery_beat_crontabschedule AS line ON line.id = periodic.crontab_id
LEFT JOIN django_celery_beat_intervalschedule AS span ON span.id = periodic.interval_id
LEFT JOIN django_celery_beat_solarschedule AS sun ON sun.id = periodic.solar_id
LEFT JOIN django_celery_beat_clockedschedule AS once ON once.id = periodic.clocked_id
ORDER BY periodic.name
"""
EXISTS = "SELECT to_regclass('django_celery_beat_periodictask') IS NOT NULL"
PERIODS = ("days", "hours", "minutes", "seconds", "microseconds")
LINE = ("minute", "hour", "day_of_month", "month_of_year", "day_of_week")
CLEAN_UP = "celery.backend_cleanup"


class Refused(Exception):
    """A row that cannot be imported without loss; the text says why."""


@dataclass
class Imported:
    """What becomes of one row: a schedule to store, or the reason why there is none; and what to know about it."""

    name: str
    schedule: Schedule | None = None
    refused: str = ""
    notes: list[str] = field(default_factory=list)


def has_tables(using: str) -> bool:
    """Whether the database has django-celery-beat's tables."""
    with connections[using].cursor() as cursor:
        cursor.execute(EXISTS)
        return bool(cursor.fetchone()[0])


def read(using: str) -> list[Imported]:
    """Read every row and say what it would become; writes nothing."""
    with connections[using].cursor() as cursor:
        cursor.execute(READ)
        rows = [[json.loads(part) if isinstance(part, str) else part for part in row] for row in cursor.fetchall()]
    now = database_clock(using)
    taken = set(Schedule.objects.using(using).values_list("name", flat=True))
    return [_imported(row, now, taken) for row in rows]


def write(imported: list[Imported], using: str) -> int:
    """Store what can be imported, all in one transaction; return how many."""
    number = 0
    with transaction.atomic(using=using):
        for one in imported:
            if one.schedule is not None:
                one.schedule.save(using=using)
                _keep_pace(one.schedule, using)
                number += 1
    return number


def _keep_pace(schedule: Schedule, using: str) -> None:
    """Let a schedule go on from its last run, as Celery's beat would."""
    due_at = _due_at(schedule)
    if due_at is not None and schedule.next_run_at is not None and due_at < schedule.next_run_at:
        Schedule.objects.using(using).filter(pk=schedule.pk).update(next_run_at=due_at)


def _due_at(schedule: Schedule) -> datetime | None:
    """Return the first slot after the last run, which may have passed; None if there is none to make up for."""
    if not schedule.enabled or schedule.last_run_at is None or schedule.kind == stored.CLOCKED:
        return None
    due_at = schedule.timing().first(schedule.last_run_at, schedule.zone, schedule.start_at)
    return None if due_at is None or (schedule.end_at is not None and due_at > schedule.end_at) else due_at


def _imported(row: list[Any], now: datetime, taken: set[str]) -> Imported:
    task, *_ = row
    found = Imported(task["name"])
    try:
        if task["name"] in taken:
            raise Refused("a schedule of this name is there already")
        if task["task"] == CLEAN_UP:
            raise Refused("not needed: workers prune results by themselves (DJQUEUE['RETENTION'])")
        found.schedule = _schedule(row, now, found.notes)
        found.schedule.full_clean(validate_unique=False, validate_constraints=False)
        if (due_at := _due_at(found.schedule)) is not None and due_at <= now:
            found.notes.append(f"its slot of {due_at.isoformat()} came after its last run, so the first beat fires it")
    except Refused as reason:
        found.schedule, found.refused = None, str(reason)
    except ValidationError as error:
        texts = [f"{name}: {' '.join(texts)}" for name, texts in error.message_dict.items()]
        found.schedule, found.refused = None, "; ".join(texts)
    return found


def _schedule(row: list[Any], now: datetime, notes: list[str]) -> Schedule:
    task = row[0]
    if task.get("exchange") or task.get("routing_key"):
        raise Refused(
            f"exchange {task.get('exchange')!r} and routing key {task.get('routing_key')!r} mean nothing here; "
            "give it a queue and import it again"
        )
    headers = _json("headers", task.get("headers") or "{}", dict)
    schedule = Schedule(
        name=task["name"],
        task=task["task"],
        args=_json("args", task["args"] or "[]", list),
        kwargs=_json("kwargs", task["kwargs"] or "{}", dict),
        queue=task["queue"] or "",
        priority=task.get("priority"),
        options={"headers": headers} if headers else {},
        enabled=task["enabled"],
        one_off=bool(task.get("one_off")),
        description=task.get("description") or "",
        start_at=_moment(task.get("start_time")),
        end_at=_moment(task["expires"]),
        expires=timedelta(seconds=task["expire_seconds"]) if task.get("expire_seconds") else None,
        last_run_at=_moment(task["last_run_at"]),
        total_runs=task["total_run_count"],
        **dict(_when(row)),
    )
    notes += _notes(schedule, now)
    return schedule


def _when(row: list[Any]) -> Iterator[tuple[str, Any]]:
    """Yield the columns that say when; exactly one of the four kinds must be there."""
    _, crontab, every, sun, clocked = row
    kinds = [kind for kind in (crontab, every, sun, clocked) if kind is not None]
    if len(kinds) != 1:
        raise Refused(f"expected exactly one of crontab, interval, solar and clocked, got: {len(kinds)}")
    if crontab is not None:
        yield "kind", stored.CRONTAB
        yield "expression", " ".join("".join(str(crontab[name]).split()) for name in LINE)
        yield "timezone", crontab.get("timezone") or "UTC"
    elif every is not None:
        if every["period"] not in PERIODS:
            raise Refused(
                f"expected the period of the interval to be one of {', '.join(PERIODS)}, got: {every['period']!r}"
            )
        yield "kind", stored.INTERVAL
        try:
            yield "every", timedelta(**{every["period"]: every["every"]})
        except OverflowError:
            long = f"{every['every']} {every['period']}"
            raise Refused(f"expected an interval of at most a hundred years, got: {long}") from None
    elif sun is not None:
        yield "kind", stored.SOLAR
        yield "solar_event", sun["event"]
        yield "latitude", float(sun["latitude"])
        yield "longitude", float(sun["longitude"])
    else:
        yield "kind", stored.CLOCKED
        yield "clocked_at", _moment(clocked["clocked_time"])


def _notes(schedule: Schedule, now: datetime) -> Iterator[str]:
    """Say what behaves differently here, and switch off what is over."""
    if schedule.enabled and schedule.end_at is not None and schedule.end_at <= now:
        schedule.enabled = False
        yield "it has expired, so it is imported switched off"
    if schedule.enabled and schedule.kind == stored.CLOCKED and schedule.clocked_at and schedule.clocked_at <= now:
        schedule.enabled = False
        yield "its time has passed, so it is imported switched off"
    if schedule.kind == stored.INTERVAL and schedule.start_at is not None:
        yield f"its slots count from {schedule.start_at.isoformat()}"


def _json(name: str, text: str, kind: type) -> Any:
    try:
        value = json.loads(text)
    except ValueError as error:
        raise Refused(f"{name} are no JSON: {error}") from None
    if not isinstance(value, kind):
        raise Refused(f"expected {name} to be a JSON {'list' if kind is list else 'object'}, got: {text}")
    return value


def _moment(text: str | None) -> datetime | None:
    return None if text is None else datetime.fromisoformat(text)
