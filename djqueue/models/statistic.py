"""Statistics: how attempts ended and how long they took, summed by time, task and queue."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.utils.translation import gettext_lazy as _


class IntegerList(models.Field):  # type: ignore[type-arg]
    """An array of integers; Django's own would require its app for PostgreSQL to be installed."""

    def db_type(self, connection: Any) -> str:
        return "integer[]"


class Statistic(models.Model):
    """Attempts of one task and queue that ended in the ``resolution`` minutes from ``at``; 0 is a part of a minute.

    ``steps`` and ``counts`` are a histogram of how long they waited and ran (``djqueue.histogram``). A key may have
    several rows, which add up (``store/tally.py``).
    """

    id = models.BigAutoField(primary_key=True)
    at = models.DateTimeField(_("time"))
    resolution = models.SmallIntegerField(_("minutes"))
    name = models.TextField(_("task"))
    queue = models.TextField(_("queue"), db_collation="C")
    succeeded = models.IntegerField(_("succeeded"), db_default=0)
    failed = models.IntegerField(_("failed"), db_default=0)
    retried = models.IntegerField(_("retried"), db_default=0)
    cancelled = models.IntegerField(_("cancelled"), db_default=0)
    lost = models.IntegerField(_("lost"), db_default=0)
    steps = IntegerList(null=True)
    counts = IntegerList(null=True)

    class Meta:
        verbose_name = _("statistic")
        # The page that this model's list is.
        verbose_name_plural = _("dashboard")
        default_permissions = ("view",)
        db_table_comment = "Sums of how attempts ended; only inserted and deleted, kept by age."
        required_db_features = ("supports_comments",)
        indexes = [models.Index(fields=["resolution", "at"], name="djqueue_statistic_at")]

    def __str__(self) -> str:
        return f"{self.at:%Y-%m-%d %H:%M} {self.name}"
