"""Workflows: tasks that wait for others, and groups that something waits for."""

from __future__ import annotations

from django.db import models
from django.utils.translation import gettext_lazy as _

from djqueue.planned import Takes

from .task import Task


class WaitingTask(models.Model):
    """A task that is released when a task or a group, ``waits_for``, has succeeded, and fails when that fails.

    ``run_at``, ``run_in`` and ``expires_in`` (seconds) count from its release.
    """

    task = models.OneToOneField(
        Task, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="waiting"
    )
    waits_for = models.UUIDField()
    takes = models.SmallIntegerField(choices=[(t.value, t.name.lower()) for t in Takes])
    attempt = models.IntegerField(default=0)
    run_at = models.DateTimeField(null=True)
    run_in = models.FloatField(null=True)
    expires_in = models.FloatField(null=True)

    class Meta:
        verbose_name = _("waiting task")
        verbose_name_plural = _("waiting tasks")
        default_permissions = ()
        db_table_comment = "Tasks of workflows that wait for a task or a group to succeed."
        required_db_features = ("supports_comments",)
        indexes = [models.Index(fields=["waits_for"], name="djqueue_waiting_for")]
        constraints = [
            models.CheckConstraint(
                name="djqueue_waiting_takes", condition=models.Q(takes__in=[t.value for t in Takes])
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} for {self.waits_for}"


class TaskGroup(models.Model):
    """A group that something waits for. ``pending`` of its ``size`` members have not succeeded yet.

    ``pending`` is null if nothing waits for it; ``failed`` says that what waited for it has failed. A member of one
    group may be another, which keeps its results as ``value``. ``saved`` is what ``GroupResult.save`` keeps.
    """

    id = models.UUIDField(primary_key=True)
    workflow_id = models.UUIDField(null=True)
    group_id = models.UUIDField(null=True)
    group_index = models.IntegerField(null=True)
    size = models.IntegerField()
    pending = models.IntegerField(null=True)
    failed = models.BooleanField(db_default=False)
    value = models.JSONField(null=True)
    saved = models.JSONField(null=True)
    created_at = models.DateTimeField(db_default=models.functions.Now())

    class Meta:
        verbose_name = _("group")
        verbose_name_plural = _("groups")
        default_permissions = ()
        db_table_comment = "Groups of tasks that something waits for, or whose results were saved."
        required_db_features = ("supports_comments",)
        indexes = [
            models.Index(fields=["workflow_id"], name="djqueue_group_workflow"),
            models.Index(
                fields=["group_id"], name="djqueue_group_of_group", condition=models.Q(group_id__isnull=False)
            ),
        ]

    def __str__(self) -> str:
        return f"{self.id} {self.pending}/{self.size}"
