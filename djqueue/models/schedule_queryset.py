"""Sets of schedules: switched and changed many at once."""

from __future__ import annotations

from datetime import timedelta
from typing import TYPE_CHECKING, Any

from django.db import transaction
from django.db.models import QuerySet
from django.db.models.functions import Now

from djqueue.store.beat import tell_beats

if TYPE_CHECKING:
    from .schedules import Schedule  # noqa: F401 - named in a string

MOVING = (
    "kind", "expression", "every", "relative", "clocked_at", "solar_event", "latitude", "longitude", "timezone",
    "start_at", "end_at",
)  # fmt: skip
"""Columns of which each decides when the next slot is."""


class ScheduleQuerySet(QuerySet["Schedule"]):
    """Schedules, to be switched and changed many at once."""

    def update(self, **values: Any) -> int:
        """Change these without validating; a beat finds their next slots anew if the timing is among the changes.

        One that is switched off forgets its slot, so that it does not fire for the time it was off.
        """
        if not values.keys() & set(MOVING) and values.get("enabled", True) is True:
            return super().update(**values)
        number = super().update(**{"next_run_at": None, "held_until": None, **values})
        tell_beats(self.db)
        return number

    update.alters_data = True  # type: ignore[attr-defined]

    def enable(self) -> int:
        """Let these run from now on, without what they missed; return how many were off.

        All or none: raises ``ValidationError`` if one of them makes no sense.
        """
        rows = self.select_for_update().filter(enabled=False)
        with transaction.atomic(using=rows.db):
            changed = list(rows)
            for schedule in changed:
                schedule.enabled = True
                schedule.save(update_fields=["enabled"])
        return len(changed)

    def disable(self) -> int:
        """Pause these; return how many were on."""
        return self.filter(enabled=True).update(enabled=False)

    def overdue(self, by: timedelta) -> ScheduleQuerySet:
        """Those whose slot passed longer ago than ``by`` without a beat to fire it."""
        return self.filter(enabled=True, next_run_at__lt=Now() - by, held_until=None)
