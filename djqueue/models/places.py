"""The narrow tables that say where an unfinished task stands.

No foreign key has a constraint in the database: a constraint costs about one MultiXact for each insert
(docs/decisions/0002-data-model.md). The doctor looks for rows that point to nothing.
"""

from __future__ import annotations

from django.db import models
from django.db.models import Func, Value
from django.utils.translation import gettext_lazy as _

from djqueue.states import ScheduleReason

from .task import Task
from .worker import Worker

READY_SEQUENCE = "djqueue_readytask_seq"


class ReadyTask(models.Model):
    """A task in line. The primary key is the order of claims and the only index.

    ``seq`` is drawn when the row is inserted, also when a task comes back in line: the floor protocol
    (``store/floor.py``) rests on it. ``attempt`` counts the attempts made so far.
    """

    pk = models.CompositePrimaryKey("queue", "priority", "seq")
    queue = models.TextField(db_collation="C")
    priority = models.SmallIntegerField()
    seq = models.BigIntegerField(db_default=Func(Value(READY_SEQUENCE), function="nextval"))
    task = models.ForeignKey(
        Task, on_delete=models.CASCADE, db_constraint=False, db_index=False, related_name="ready_rows"
    )
    attempt = models.IntegerField(default=0)

    class Meta:
        verbose_name = _("ready task")
        verbose_name_plural = _("ready tasks")
        default_permissions = ()
        db_table_comment = "Tasks in line; a claim deletes the row."
        required_db_features = ("supports_comments",)

    def __str__(self) -> str:
        return f"{self.queue} {self.seq}"


class ScheduledTask(models.Model):
    """A task that is not due yet, or waits before its next attempt."""

    pk = models.CompositePrimaryKey("run_at", "task")
    run_at = models.DateTimeField(_("run at"))
    task = models.OneToOneField(Task, on_delete=models.CASCADE, db_constraint=False, related_name="scheduled")
    attempt = models.IntegerField(default=0)
    reason = models.SmallIntegerField(
        choices=[(r.value, r.name.lower()) for r in ScheduleReason], default=ScheduleReason.ETA
    )

    class Meta:
        verbose_name = _("scheduled task")
        verbose_name_plural = _("scheduled tasks")
        default_permissions = ()
        db_table_comment = "Tasks that are not due yet; promoted when they are."
        required_db_features = ("supports_comments",)
        constraints = [
            models.CheckConstraint(
                name="djqueue_scheduled_reason", condition=models.Q(reason__in=[r.value for r in ScheduleReason])
            ),
        ]
        # Few rows, or none: those that a pause has put off.
        indexes = [
            models.Index(
                fields=["run_at", "task"],
                name="djqueue_scheduled_paused",
                condition=models.Q(reason=ScheduleReason.PAUSED),
            ),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} at {self.run_at:%Y-%m-%d %H:%M:%S}"


class RunningTask(models.Model):
    """A lease: this worker may run this attempt. Only the same worker and attempt can settle it.

    ``state`` and ``meta`` are what the task itself shows of its progress. ``once`` is set by a task that runs at most
    once, before it starts.
    """

    task = models.OneToOneField(
        Task, on_delete=models.CASCADE, primary_key=True, db_constraint=False, related_name="running"
    )
    attempt = models.IntegerField()
    worker = models.ForeignKey(Worker, on_delete=models.DO_NOTHING, db_constraint=False, related_name="running_tasks")
    claimed_at = models.DateTimeField()
    once = models.BooleanField(db_default=False)
    state = models.TextField(null=True)  # noqa: DJ001 - an empty state is not no state
    meta = models.JSONField(null=True)

    class Meta:
        verbose_name = _("running task")
        verbose_name_plural = _("running tasks")
        default_permissions = ()
        db_table_comment = "Leases: attempts that workers hold now."
        required_db_features = ("supports_comments",)
        constraints = [
            models.CheckConstraint(name="djqueue_running_attempt", condition=models.Q(attempt__gte=1)),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} attempt {self.attempt}"


class CancelledTask(models.Model):
    """A note that a task is to be cancelled which could not be at once: it runs, or is not known yet.

    With ``terminate`` its executor is killed, after it got the OS signal ``signum`` and some time, if there is one.
    """

    task_id = models.UUIDField(primary_key=True)
    terminate = models.BooleanField(default=False)
    signum = models.SmallIntegerField(null=True)
    asked_at = models.DateTimeField()

    class Meta:
        verbose_name = _("cancellation")
        verbose_name_plural = _("cancellations")
        default_permissions = ()
        db_table_comment = "Cancellations that wait for a worker or for their task; nearly always empty."
        required_db_features = ("supports_comments",)

    def __str__(self) -> str:
        return f"{self.task_id}"
