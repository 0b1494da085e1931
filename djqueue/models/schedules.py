"""Schedules: when to enqueue which task."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

from django.conf import settings as django_settings
from django.core.exceptions import ValidationError
from django.core.validators import MaxValueValidator, MinValueValidator
from django.db import models, transaction
from django.db.models import Q
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from djqueue.conf import settings
from djqueue.routing import HIGHEST_PRIORITY, LOWEST_PRIORITY, check_queue
from djqueue.schedules import Timing, checks, declared, stored
from djqueue.schedules.rules import MISFIRE_LIMIT, MOST_MISFIRES, Misfire, Overlap, Source
from djqueue.schedules.stored import When, timing_of
from djqueue.store.beat import OVER, database_clock, tell_beats

from .schedule_queryset import MOVING, ScheduleQuerySet

KINDS = [
    (stored.CRONTAB, _("crontab")),
    (stored.CRON, _("cron string")),
    (stored.INTERVAL, _("interval")),
    (stored.CLOCKED, _("once")),
    (stored.SOLAR, _("solar")),
]
MISFIRES = [
    (Misfire.SKIP.value, _("skip them")),
    (Misfire.ONCE.value, _("run once for all of them")),
    (Misfire.ALL.value, _("run all of them")),
]
OVERLAPS = [
    (Overlap.ALLOW.value, _("run all the same")),
    (Overlap.SKIP.value, _("skip the slot")),
    (Overlap.QUEUE.value, _("wait for the end")),
]
SOURCES = [(Source.CODE.value, _("code")), (Source.ADMIN.value, _("admin"))]
# Columns in which a mistake in the timing is shown.
COLUMN_OF = {
    stored.CRONTAB: "expression",
    stored.CRON: "expression",
    stored.INTERVAL: "every",
    stored.CLOCKED: "clocked_at",
    stored.SOLAR: "solar_event",
}
KEPT_BY_BEAT = frozenset(
    (
        "next_run_at",
        "held_until",
        "last_run_at",
        "last_task_id",
        "total_runs",
        "total_skipped",
        "last_error",
        "last_error_at",
    )
)
"""Columns that a beat may write at any moment, so that saving a schedule must not write back what it once read."""


class Schedule(models.Model):
    """When to enqueue which task. ``next_run_at`` is the first slot that was not fired yet.

    Saving validates, naming the field, and finds the next slot if the timing changed or the schedule was switched on:
    one in the future, never one that has passed.
    """

    name = models.TextField(_("name"), unique=True)
    task = models.TextField(_("task"), help_text=_("The name of the task, such as shop.tasks.send_reminders."))
    args = models.JSONField(_("arguments"), default=list, blank=True)
    kwargs = models.JSONField(_("keyword arguments"), default=dict, blank=True)
    queue = models.TextField(_("queue"), blank=True, db_collation="C", help_text=_("Empty: that of the task."))
    priority = models.SmallIntegerField(
        _("priority"), null=True, blank=True, help_text=_("-100 to 100, higher first. Empty: that of the task."),
        validators=[MinValueValidator(LOWEST_PRIORITY), MaxValueValidator(HIGHEST_PRIORITY)],
    )  # fmt: skip
    options = models.JSONField(_("further options"), default=dict, blank=True)

    kind = models.TextField(_("kind"), choices=KINDS, default=stored.CRONTAB)
    expression = models.TextField(_("expression"), blank=True)
    every = models.DurationField(_("every"), null=True, blank=True)
    relative = models.BooleanField(_("by the clock on the wall"), default=False)
    clocked_at = models.DateTimeField(_("at"), null=True, blank=True)
    solar_event = models.TextField(_("event of the sun"), blank=True)
    latitude = models.FloatField(_("latitude"), null=True, blank=True)
    longitude = models.FloatField(_("longitude"), null=True, blank=True)
    timezone = models.TextField(_("time zone"), blank=True, help_text=_("Empty: that of the site."))

    start_at = models.DateTimeField(_("not before"), null=True, blank=True)
    end_at = models.DateTimeField(_("not after"), null=True, blank=True)
    expires = models.DurationField(_("expires after"), null=True, blank=True)
    jitter = models.DurationField(_("jitter"), default=timedelta(0), blank=True)
    misfire = models.SmallIntegerField(_("missed slots"), choices=MISFIRES, default=Misfire.ONCE.value)
    misfire_limit = models.IntegerField(
        _("at most"), default=MISFIRE_LIMIT, help_text=_("Slots that are fired in one go, the latest ones."),
        validators=[MinValueValidator(1), MaxValueValidator(MOST_MISFIRES)],
    )  # fmt: skip
    overlap = models.SmallIntegerField(_("while the last run goes on"), choices=OVERLAPS, default=Overlap.ALLOW.value)
    one_off = models.BooleanField(_("run only once"), default=False)
    enabled = models.BooleanField(_("enabled"), default=True)
    description = models.TextField(_("description"), blank=True)

    source = models.SmallIntegerField(_("source"), choices=SOURCES, default=Source.ADMIN.value, editable=False)
    declared = models.JSONField(null=True, editable=False)
    next_run_at = models.DateTimeField(_("next run"), null=True, editable=False)
    held_until = models.DateTimeField(null=True, editable=False)
    last_run_at = models.DateTimeField(_("last run"), null=True, editable=False)
    last_task_id = models.UUIDField(null=True, editable=False)
    total_runs = models.BigIntegerField(_("runs"), default=0, editable=False)
    total_skipped = models.BigIntegerField(_("skipped"), default=0, editable=False)
    last_error = models.TextField(_("last error"), blank=True, default="", editable=False)
    last_error_at = models.DateTimeField(null=True, editable=False)
    created_at = models.DateTimeField(_("created"), db_default=Now(), editable=False)

    objects = ScheduleQuerySet.as_manager()

    class Meta:
        verbose_name = _("schedule")
        verbose_name_plural = _("schedules")
        permissions = [
            ("run_schedule", "Can run a schedule now"),
            ("switch_schedule", "Can switch schedules on and off"),
        ]
        db_table_comment = "When to enqueue which task; beats advance next_run_at."
        required_db_features = ("supports_comments",)
        indexes = [
            models.Index(fields=["next_run_at", "id"], name="djqueue_schedule_due", condition=Q(enabled=True)),
            models.Index(
                fields=["held_until"], name="djqueue_schedule_held", condition=Q(enabled=True, held_until__isnull=False)
            ),
        ]
        constraints = [
            models.CheckConstraint(name="djqueue_schedule_named", condition=~Q(name="") & ~Q(task="")),
            models.CheckConstraint(
                name="djqueue_schedule_when",
                condition=(
                    (Q(kind__in=[stored.CRONTAB, stored.CRON]) & ~Q(expression=""))
                    | Q(kind=stored.INTERVAL, every__isnull=False)
                    | Q(kind=stored.CLOCKED, clocked_at__isnull=False)
                    | (Q(kind=stored.SOLAR, latitude__isnull=False, longitude__isnull=False) & ~Q(solar_event=""))
                ),
            ),
            models.CheckConstraint(
                name="djqueue_schedule_rules",
                condition=Q(
                    misfire__in=[m.value for m in Misfire], overlap__in=[o.value for o in Overlap],
                    misfire_limit__gte=1, jitter__gte=timedelta(0),
                ),
            ),
        ]  # fmt: skip

    def __str__(self) -> str:
        return self.name

    def save(self, *, update_fields: Iterable[str] | None = None, using: str | None = None, **options: Any) -> None:
        """Validate and store, with the next slot if the timing changed. Raises ``ValidationError``."""
        using = using or self._state.db or settings.DATABASE
        self.full_clean(validate_unique=False, validate_constraints=False)
        with transaction.atomic(using=using):
            rows = type(self)._base_manager.using(using).select_for_update().filter(pk=self.pk)
            before = None if self._state.adding else rows.first()
            if before is None:
                self._begin(using)
                super().save(using=using, **options)
            else:
                self._save_over(before, using, update_fields)
            tell_beats(using)

    @property
    def when(self) -> When:
        return When(
            self.kind, self.expression, self.every, self.relative, self.clocked_at,
            self.solar_event, self.latitude, self.longitude,
        )  # fmt: skip

    @property
    def zone(self) -> ZoneInfo:
        """Its zone, or that of the site. Raises ``ValueError`` for one that this host does not know."""
        return ZoneInfo(checks.check_zone(self.timezone) or django_settings.TIME_ZONE)

    def timing(self) -> Timing:
        """Return when this is due. Raises ``ValueError``, ``TypeError`` or ``ImportError``."""
        return timing_of(self.when)

    def next_slots(self, number: int, after: datetime) -> list[datetime]:
        """Return the next slots after a moment, as if the schedule were switched on then."""
        timing, slots = self.timing(), list[datetime]()
        slot = timing.first(after, self.zone, self.start_at)
        while slot is not None and len(slots) < number and (self.end_at is None or slot <= self.end_at):
            slots.append(slot)
            slot = None if self.one_off else timing.next_after(slot, self.zone)
        return slots

    def clean(self) -> None:
        """Raise ``ValidationError`` with a message for each field that makes no sense."""
        wrong: dict[str, str] = {}
        for field, check in CHECKS.items():
            try:
                check(getattr(self, field))
            except (TypeError, ValueError) as error:
                wrong[field] = str(error)
        if self.start_at and self.end_at and self.end_at <= self.start_at:
            wrong["end_at"] = f"expected a moment after the start, {self.start_at.isoformat()}"
        try:
            self.timing()
        except (ValueError, TypeError, ImportError, OverflowError) as error:
            wrong[COLUMN_OF.get(self.kind, "kind")] = str(error)
        if wrong:
            raise ValidationError(wrong)

    def _save_over(self, before: Schedule, using: str, update_fields: Iterable[str] | None) -> None:
        if update_fields is None:
            columns = {f.name for f in self._meta.concrete_fields if not f.primary_key} - KEPT_BY_BEAT - {"created_at"}
        else:
            columns = set(update_fields)
        if any(name in columns and getattr(self, name) != getattr(before, name) for name in (*MOVING, "enabled")):
            self._begin(using)
            columns |= {"next_run_at", "held_until", "declared"}
        else:
            self.next_run_at, self.held_until = before.next_run_at, before.held_until
        super().save(using=using, update_fields=columns)

    def _begin(self, using: str) -> None:
        """Find the first slot from now on, by the database's clock."""
        self.held_until = None
        if self.declared is not None:
            self.declared = {key: value for key, value in self.declared.items() if key != OVER}
        slots = self.next_slots(1, database_clock(using)) if self.enabled else []
        self.next_run_at = slots[0] if slots else None


def _check_args(value: object) -> None:
    if not isinstance(value, list):
        raise TypeError(f"expected a JSON list, got: {value!r}")


def _check_kwargs(value: object) -> None:
    if not isinstance(value, dict):
        raise TypeError(f"expected a JSON object, got: {value!r}")


def _check_expires(value: timedelta | None) -> None:
    if value is not None and checks.check_span(value) == timedelta(0):
        raise ValueError(f"expected more than 0 seconds, got: {value}")


CHECKS: dict[str, Any] = {
    "name": checks.check_name,
    "task": checks.check_text,
    "description": checks.check_text,
    "args": _check_args,
    "kwargs": _check_kwargs,
    "options": declared.check_options,
    "queue": lambda name: None if name == "" else check_queue(name),
    "timezone": checks.check_zone,
    "clocked_at": checks.check_moment,
    "start_at": checks.check_moment,
    "end_at": checks.check_moment,
    "expires": _check_expires,
    "jitter": checks.check_span,
}
