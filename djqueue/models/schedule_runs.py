"""What became of the slots of schedules."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from djqueue.schedules.rules import Fate

from .schedules import Schedule

FATES = [
    (Fate.ENQUEUED.value, _("enqueued")),
    (Fate.SKIPPED.value, _("skipped")),
    (Fate.MISSED.value, _("missed")),
    (Fate.FAILED.value, _("failed")),
    (Fate.BY_HAND.value, _("by hand")),
]


class ScheduleRun(models.Model):
    """What became of a slot. The key is what lets a slot fire only once."""

    pk = models.CompositePrimaryKey("schedule", "due_at")
    schedule = models.ForeignKey(
        Schedule, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="runs"
    )
    due_at = models.DateTimeField(_("due"))
    fired_at = models.DateTimeField(_("fired"))
    fate = models.SmallIntegerField(_("outcome"), choices=FATES)
    task_id = models.UUIDField(null=True)
    note = models.TextField(_("note"), blank=True, default="")

    class Meta:
        verbose_name = _("run of a schedule")
        verbose_name_plural = _("runs of schedules")
        default_permissions = ("view",)
        db_table_comment = "Slots of schedules and what became of them; pruned by age."
        required_db_features = ("supports_comments",)
        indexes = [models.Index(fields=["due_at"], name="djqueue_schedulerun_due")]
        constraints = [
            models.CheckConstraint(name="djqueue_schedulerun_fate", condition=Q(fate__in=[f.value for f in Fate])),
        ]

    def __str__(self) -> str:
        return f"{self.schedule_id} {self.due_at:%Y-%m-%d %H:%M:%S}"
