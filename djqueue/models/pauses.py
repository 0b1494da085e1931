"""Pauses: tasks, by name or by key, that nobody may start for a while."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from djqueue.states import PauseKind


class Pause(models.Model):
    """While ``until`` lies ahead, tasks of this name, or with this key, are put off until then.

    Queues have their pause in their own row (``Queue.paused_until``).
    """

    kind = models.TextField(_("kind"), choices=[(kind.value, kind.value) for kind in PauseKind])
    name = models.TextField(_("name"))
    until = models.DateTimeField(_("until"))
    paused_at = models.DateTimeField(_("paused"), db_default=Now())

    class Meta:
        verbose_name = _("pause")
        verbose_name_plural = _("pauses")
        default_permissions = ("view", "add", "delete")
        db_table_comment = "Tasks, by name or key, that are not started for a while."
        required_db_features = ("supports_comments",)
        constraints = [
            models.UniqueConstraint(fields=["kind", "name"], name="djqueue_pause_once"),
            models.CheckConstraint(
                name="djqueue_pause_kind", condition=models.Q(kind__in=[kind.value for kind in PauseKind])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.kind} {self.name}"
