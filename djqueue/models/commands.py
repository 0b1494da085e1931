"""Commands to workers, and what they answer: rows that are pruned within minutes."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _


class WorkerCommand(models.Model):
    """An order or a question to workers. After ``expires_at`` nobody obeys it any more."""

    id = models.BigAutoField(primary_key=True)
    name = models.TextField(_("name"))
    arguments = models.JSONField(_("arguments"), default=dict)
    asked_at = models.DateTimeField(_("asked"), db_default=Now())
    expires_at = models.DateTimeField(_("expires"))

    class Meta:
        verbose_name = _("command")
        verbose_name_plural = _("commands")
        default_permissions = ()
        db_table_comment = "Commands to workers; kept for some minutes."
        required_db_features = ("supports_comments",)

    def __str__(self) -> str:
        return f"{self.name} #{self.pk}"


class CommandReply(models.Model):
    """One row for each worker that a command is addressed to.

    The worker takes it once (``taken_at``) and answers with a ``value`` or an ``error``.
    """

    pk = models.CompositePrimaryKey("command", "worker_id")
    command = models.ForeignKey(WorkerCommand, on_delete=models.CASCADE, db_constraint=False, related_name="replies")
    worker_id = models.BigIntegerField()
    worker = models.TextField(_("worker"))
    taken_at = models.DateTimeField(null=True)
    answered_at = models.DateTimeField(null=True)
    value = models.JSONField(null=True)
    error = models.TextField(null=True)  # noqa: DJ001 - no error is not an empty one

    class Meta:
        verbose_name = _("reply")
        verbose_name_plural = _("replies")
        default_permissions = ()
        db_table_comment = "What workers were asked, and their answers; kept as long as the command."
        required_db_features = ("supports_comments",)
        indexes = [
            models.Index(fields=["worker_id"], name="djqueue_reply_open", condition=models.Q(taken_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return f"{self.worker} to #{self.command_id}"
