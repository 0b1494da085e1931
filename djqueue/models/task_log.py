"""Logs of tasks: what an attempt wrote to its log, where ``DJQUEUE["CAPTURE_LOGS"]`` asks for it."""

from __future__ import annotations

from django.db import models
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .task import Task


class TaskLog(models.Model):
    """The lines that one attempt logged, as text; kept for ``DJQUEUE["LOGS_KEPT"]``."""

    id = models.BigAutoField(primary_key=True)
    task = models.ForeignKey(Task, on_delete=models.CASCADE, db_constraint=False, related_name="logs")
    attempt = models.IntegerField(_("attempt"))
    text = models.TextField(_("text"))
    written_at = models.DateTimeField(_("written"), db_default=Now())

    class Meta:
        verbose_name = _("log")
        verbose_name_plural = _("logs")
        default_permissions = ("view",)
        db_table_comment = "What attempts logged, where that is captured; kept by age."
        required_db_features = ("supports_comments",)
        indexes = [models.Index(fields=["written_at"], name="djqueue_tasklog_written")]

    def __str__(self) -> str:
        return f"{self.task_id} attempt {self.attempt}"
