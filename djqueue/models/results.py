"""What finished, and what was tried."""

from __future__ import annotations

from django.db import models
from django.db.models import Q
from django.utils.translation import gettext_lazy as _

from djqueue.states import Ending, State

from .task import Task

FINAL_STATES = [
    (State.SUCCEEDED.value, _("succeeded")),
    (State.FAILED.value, _("failed")),
    (State.CANCELLED.value, _("cancelled")),
]


class TaskResult(models.Model):
    """How a task finished. ``value`` is null for a task that returned ``None``; ``error`` is
    ``{"exc_type", "exc_message", "exc_module", "traceback"}``.
    """

    task = models.OneToOneField(
        Task, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="result"
    )
    state = models.SmallIntegerField(_("state"), choices=FINAL_STATES)
    attempt = models.IntegerField(_("attempt"))
    worker = models.TextField(_("worker"))
    value = models.JSONField(_("value"), null=True)
    error = models.JSONField(_("error"), null=True)
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"))

    class Meta:
        verbose_name = _("result")
        verbose_name_plural = _("results")
        default_permissions = ("view", "delete")
        db_table_comment = "Finished tasks; pruned by age."
        required_db_features = ("supports_comments",)
        indexes = [
            # With the state, so that pruning one state steps over the kept rows of others without reading them.
            models.Index(fields=["finished_at", "state"], name="djqueue_result_finished"),
            models.Index(
                fields=["finished_at"],
                name="djqueue_result_unsuccessful",
                condition=~Q(state=State.SUCCEEDED.value),
            ),
        ]
        constraints = [
            models.CheckConstraint(
                name="djqueue_result_shape",
                condition=(
                    Q(state=State.SUCCEEDED.value, error__isnull=True)
                    | Q(state=State.FAILED.value, error__isnull=False, value__isnull=True)
                    | Q(state=State.CANCELLED.value, value__isnull=True)
                ),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} {State(self.state).name.lower()}"


class TaskAttempt(models.Model):
    """One attempt that failed, was retried or was lost with its executor or worker."""

    OUTCOMES = [
        (Ending.FAILED.value, _("failed")),
        (Ending.LOST.value, _("lost")),
        (Ending.RETRIED.value, _("retried")),
    ]

    pk = models.CompositePrimaryKey("task", "attempt")
    task = models.ForeignKey(
        Task, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="attempts"
    )
    attempt = models.IntegerField(_("attempt"))
    outcome = models.SmallIntegerField(_("outcome"), choices=OUTCOMES)
    worker = models.TextField(_("worker"))
    error = models.JSONField(_("error"))
    started_at = models.DateTimeField(_("started"), null=True)
    finished_at = models.DateTimeField(_("finished"))

    class Meta:
        verbose_name = _("attempt")
        verbose_name_plural = _("attempts")
        default_permissions = ("view",)
        db_table_comment = "Attempts that did not succeed."
        required_db_features = ("supports_comments",)
        constraints = [
            models.CheckConstraint(
                name="djqueue_attempt_outcome",
                condition=Q(outcome__in=[Ending.FAILED.value, Ending.LOST.value, Ending.RETRIED.value], attempt__gte=1),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} attempt {self.attempt}"
