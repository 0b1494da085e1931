"""The task itself: immutable, wide, and never in a claim's way."""

from __future__ import annotations

from typing import Any

from django.db import models
from django.db.models import Exists, OuterRef, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Now
from django.utils.translation import gettext_lazy as _

from djqueue.states import State
from djqueue.uuid7 import new_uuid

STANDING = {
    "RunningTask": State.RUNNING,
    "ScheduledTask": State.SCHEDULED,
    "WaitingTask": State.WAITING,
    "ParkedTask": State.WAITING,
}
"""Which state a task is in by the table that it stands in, beside that of results."""


class TaskQuerySet(QuerySet["Task"]):
    """Tasks by where they stand. Each name is one query on the narrow table that knows."""

    def waiting(self) -> TaskQuerySet:
        return self.filter(waiting__isnull=False)

    def parked(self) -> TaskQuerySet:
        """Tasks that a limit holds back."""
        return self.filter(parked__isnull=False)

    def scheduled(self) -> TaskQuerySet:
        return self.filter(scheduled__isnull=False)

    def running(self) -> TaskQuerySet:
        return self.filter(running__isnull=False)

    def finished(self, state: State | None = None) -> TaskQuerySet:
        if state is None:
            return self.filter(result__isnull=False)
        return self.filter(result__state=state)

    def ready(self) -> TaskQuerySet:
        """Tasks in line: those that stand in no other table (there is no index by id on the line itself)."""
        return self.filter(
            ~Exists(self._elsewhere("RunningTask")),
            ~Exists(self._elsewhere("ScheduledTask")),
            ~Exists(self._elsewhere("TaskResult")),
            ~Exists(self._elsewhere("WaitingTask")),
            ~Exists(self._elsewhere("ParkedTask")),
        )

    def with_state(self) -> TaskQuerySet:
        """Annotate ``state_code``, a ``State``, by five index probes a row: meant for a page of rows.

        Each is a subquery for its value, because EXISTS may be planned as a walk through the whole table.
        """
        return self.annotate(
            state_code=Coalesce(
                models.Subquery(self._elsewhere("TaskResult").values("state")[:1]),
                *(self._state_if_in(model, state) for model, state in STANDING.items()),
                Value(State.READY.value),
                output_field=models.SmallIntegerField(),
            )
        )

    def _state_if_in(self, model: str, state: State) -> models.Subquery:
        return models.Subquery(self._elsewhere(model).annotate(code=Value(state.value)).values("code")[:1])

    @staticmethod
    def _elsewhere(model: str) -> QuerySet[Any]:
        from django.apps import apps

        rows: QuerySet[Any] = apps.get_model("djqueue", model)._base_manager.filter(task_id=OuterRef("pk"))
        return rows


class Task(models.Model):
    """One requested run of a definition.

    ``options`` holds what few tasks need (``ignore_result``, limits, headers); ``root_id`` is null for a task
    that nothing caused. ``workflow_id`` is set if it matters to other tasks how this one ends. Written once; only the
    arguments of a step change, when it gets the result before it.
    """

    id = models.UUIDField(_("id"), primary_key=True, default=new_uuid, editable=False)
    name = models.TextField(_("name"))
    queue = models.TextField(_("queue"), db_collation="C")
    priority = models.SmallIntegerField(_("priority"), default=0)
    args = models.JSONField(_("arguments"), default=list)
    kwargs = models.JSONField(_("keyword arguments"), default=dict)
    options = models.JSONField(_("options"), null=True)
    parent_id = models.UUIDField(null=True)
    root_id = models.UUIDField(null=True)
    group_id = models.UUIDField(null=True)
    group_index = models.IntegerField(null=True)
    created_at = models.DateTimeField(_("created"), db_default=Now())
    expires_at = models.DateTimeField(_("expires"), null=True)
    workflow_id = models.UUIDField(null=True)
    max_retries = models.SmallIntegerField(_("maximum of retries"), null=True)

    objects = TaskQuerySet.as_manager()

    class Meta:
        verbose_name = _("task")
        verbose_name_plural = _("tasks")
        default_permissions = ("view", "delete")
        permissions = [
            ("retry_task", "Can run a task again"),
            ("cancel_task", "Can cancel tasks"),
            ("terminate_task", "Can end tasks that run"),
            ("run_task", "Can run a scheduled task now"),
            ("reschedule_task", "Can run a task at another time"),
            ("move_task", "Can move tasks to another queue"),
            ("prioritise_task", "Can change the priority of tasks"),
            ("enqueue_task", "Can enqueue tasks by a form"),
        ]
        db_table_comment = "One requested run each; written once, never updated."
        required_db_features = ("supports_comments",)
        # Partial, so that a plain task is in none of them.
        indexes = [
            models.Index(fields=["parent_id"], name="djqueue_task_parent", condition=Q(parent_id__isnull=False)),
            models.Index(
                fields=["group_id", "group_index"], name="djqueue_task_group", condition=Q(group_id__isnull=False)
            ),
            models.Index(fields=["workflow_id"], name="djqueue_task_workflow", condition=Q(workflow_id__isnull=False)),
        ]
        constraints = [
            models.CheckConstraint(name="djqueue_task_priority", condition=Q(priority__gte=-100, priority__lte=100)),
            models.CheckConstraint(name="djqueue_task_named", condition=~Q(name="") & ~Q(queue="")),
        ]

    def __str__(self) -> str:
        return f"{self.name} {self.pk}"
