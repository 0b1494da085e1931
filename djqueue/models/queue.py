"""Queues that workers have seen: small, and never on the way of enqueueing."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class Queue(models.Model):
    """A named line. A worker adds the row when it first meets the name; enqueueing never looks here.

    While ``paused_until`` lies ahead no worker claims from the queue.
    """

    name = models.TextField(_("name"), primary_key=True, db_collation="C")
    paused_until = models.DateTimeField(_("paused until"), null=True, blank=True)
    created_at = models.DateTimeField(_("first seen"), db_default=Now())

    class Meta:
        verbose_name = _("queue")
        verbose_name_plural = _("queues")
        default_permissions = ("view",)
        permissions = [
            ("pause_queue", "Can pause and resume queues"),
            ("purge_queue", "Can drop all tasks in a queue"),
        ]
        db_table_comment = "Queues that workers have met."
        required_db_features = ("supports_comments",)

    def __str__(self) -> str:
        return self.name
