"""Sync: bring the schedules that are declared in code into the database, and leave to operators what they changed."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, NamedTuple

from django.core.exceptions import ImproperlyConfigured, ValidationError
from django.db import connections, transaction
from django.db.models import QuerySet

from djqueue import events, registry
from djqueue.conf import settings
from djqueue.models import Schedule
from djqueue.schedules.declared import VALUES, Declaration, as_json, declare, declare_task
from djqueue.schedules.rules import Source
from djqueue.schedules.stored import When
from djqueue.store.beat import OVER

LIMITS = "SELECT set_config('lock_timeout', '2s', true), set_config('idle_in_transaction_session_timeout', '10s', true)"
"""Somebody's open transaction must not hold up a beat, nor a beat that was stopped all the others."""
LOCK = "SELECT pg_advisory_xact_lock(hashtext('djqueue.schedules'))"

RETIRED = "retired"
"""A key of ``Schedule.declared``: the code no longer declares it; the value says whether it was on until then."""
DECIDING = ("when", "timezone", "start_at", "end_at", "one_off")
"""Values that decide whether a schedule has a slot ahead."""


class Synced(NamedTuple):
    """Names of schedules that were added, changed, switched off, or left alone because the admin has their name."""

    added: tuple[str, ...] = ()
    changed: tuple[str, ...] = ()
    retired: tuple[str, ...] = ()
    taken: tuple[str, ...] = ()


def declared_schedules() -> dict[str, Declaration]:
    """Return what ``DJQUEUE["SCHEDULES"]`` and ``@shared_task(schedule=...)`` declare, by name.

    Raises ``ImproperlyConfigured`` naming the entry.
    """
    found: dict[str, Declaration] = {}
    for declaration in _declarations():
        if declaration.name in found:
            raise ImproperlyConfigured(f"two schedules are named {declaration.name!r}; give one of them another name")
        found[declaration.name] = declaration
    return found


def _declarations() -> Iterator[Declaration]:
    try:
        for name, entry in settings.SCHEDULES.items():
            yield declare(name, entry)
        for definition in map(registry.get, registry.names()):
            if definition.schedule is not None:
                yield declare_task(definition.name, definition.schedule)
    except ValueError as error:
        raise ImproperlyConfigured(str(error)) from None


def sync(using: str) -> Synced:
    """Add and change rows so that they say what is declared.

    A value is changed only while it is the one that was declared before: what an operator changed stays. Rows made in
    the admin are left alone. A schedule that is no longer declared is switched off, not deleted.
    """
    declared = declared_schedules()
    with transaction.atomic(using=using):
        with connections[using].cursor() as cursor:
            cursor.execute(LIMITS)
            cursor.execute(LOCK)  # several beats may start at once
        ours = {row.name: row for row in _rows(using).filter(name__in=list(declared))}
        admins = Schedule.objects.using(using).exclude(source=Source.CODE).filter(name__in=list(declared))
        theirs = set(admins.values_list("name", flat=True))
        added, changed = [], []
        for name, declaration in declared.items():
            if name in ours:
                if _merge(ours[name], declaration, using):
                    changed.append(name)
            elif name not in theirs and _add(declaration, using):
                added.append(name)
        retired = _retire(declared, using)
    synced = Synced(tuple(added), tuple(changed), tuple(retired), tuple(sorted(theirs)))
    events.emit(events.SchedulesSynced(*synced))
    return synced


def _add(declaration: Declaration, using: str) -> bool:
    row = Schedule(name=declaration.name, source=Source.CODE, declared=declaration.values())
    for value in VALUES:
        _set(row, value, getattr(declaration, value))
    return _save(row, using)


def _merge(row: Schedule, declaration: Declaration, using: str) -> bool:
    """Carry over what changed in the code since it was last brought in; return whether anything did."""
    values = declaration.values()
    noted: dict[str, Any] = row.declared or {}
    before = {name: noted[name] for name in values if name in noted}
    if before == values and RETIRED not in noted:
        return False
    # What was switched off because it was not declared, or was over, is no operator's wish.
    row.enabled = row.enabled or bool(noted.get(RETIRED))
    for value in VALUES:
        if values[value] != before.get(value, values[value]) and _get(row, value) == before.get(value):
            _set(row, value, getattr(declaration, value))
    again = OVER in noted and any(values[name] != before.get(name) for name in DECIDING)
    row.enabled = row.enabled or (again and declaration.enabled)
    row.declared = {**values, OVER: True} if OVER in noted and not again else values
    return _save(row, using)


def _retire(declared: dict[str, Declaration], using: str) -> list[str]:
    """Switch off what is no longer declared, and note whether it was on."""
    retired = []
    for row in _rows(using).exclude(name__in=list(declared)):
        noted = dict(row.declared or {})
        if RETIRED in noted:
            continue
        row.declared = {**noted, RETIRED: row.enabled}
        row.enabled = False
        if _save(row, using):
            retired.append(row.name)
    return retired


def _rows(using: str) -> QuerySet[Schedule]:
    """Rows that are ours to change, locked: a beat may be about to note that one is over."""
    return Schedule.objects.using(using).filter(source=Source.CODE).select_for_update().order_by("pk")


def _save(row: Schedule, using: str) -> bool:
    """Store a row. What an operator and the code want may contradict each other; that must stop no other schedule."""
    try:
        row.save(using=using)
    except ValidationError as error:
        events.emit(events.ScheduleBroken(row.name, f"{error.message_dict}"))
        return False
    return True


def _get(row: Schedule, value: str) -> Any:
    return as_json(row.when if value == "when" else getattr(row, value))


def _set(row: Schedule, value: str, given: Any) -> None:
    if not isinstance(given, When):
        setattr(row, value, given)
        return
    for column, part in given._asdict().items():
        setattr(row, column, part)
