"""Limits that hold for the whole cluster: the rates, the tasks that are held back, and what the others hold."""

from __future__ import annotations

from enum import IntEnum

from django.db import models
from django.db.models import Func, Q, Value
from django.db.models.functions import Now
from django.utils.translation import gettext_lazy as _

from .places import READY_SEQUENCE
from .task import Task


class Limited(IntEnum):
    """What a rate limit is about."""

    TASK = 1
    QUEUE = 2


class RateLimit(models.Model):
    """How many tasks of a name, or of a queue, may start in a time.

    ``declared`` is what the code says, which workers write when they start. ``rate`` is set here, and wins unless it is
    empty. ``per_second`` is what holds; null for no limit. ``strict`` allows one task at a time and no burst.
    """

    kind = models.SmallIntegerField(
        _("of"), choices=[(Limited.TASK.value, _("task")), (Limited.QUEUE.value, _("queue"))], default=1
    )
    name = models.TextField(_("name"), db_collation="C")
    declared = models.TextField(_("declared"), blank=True, default="", editable=False)
    rate = models.TextField(_("rate"), blank=True, default="")
    strict = models.BooleanField(_("strict"), default=False)
    per_second = models.FloatField(_("tasks per second"), null=True, editable=False)
    changed_at = models.DateTimeField(_("changed"), db_default=Now(), editable=False)

    class Meta:
        verbose_name = _("rate limit")
        verbose_name_plural = _("rate limits")
        db_table_comment = "Rate limits of tasks and queues, for all workers together."
        required_db_features = ("supports_comments",)
        constraints = [
            models.UniqueConstraint(fields=["kind", "name"], name="djqueue_ratelimit_kind_name_key"),
            models.CheckConstraint(name="djqueue_ratelimit_shape", condition=Q(kind__in=[1, 2]) & ~Q(name="")),
            models.CheckConstraint(
                name="djqueue_ratelimit_rate", condition=Q(per_second__gt=0) | Q(per_second__isnull=True)
            ),
        ]

    def __str__(self) -> str:
        return f"{Limited(self.kind).name.lower()} {self.name}"


class ParkedTask(models.Model):
    """A task that had its turn in line and is held back by a limit. The primary key is the order in which tasks pass.

    ``gate`` names the limit (``djqueue.limits``), ``rank`` is the priority with its sign changed, ``slots`` the task's
    concurrency limit.
    """

    pk = models.CompositePrimaryKey("gate", "rank", "seq")
    gate = models.TextField(db_collation="C")
    rank = models.SmallIntegerField()
    seq = models.BigIntegerField(db_default=Func(Value(READY_SEQUENCE), function="nextval"))
    task = models.OneToOneField(Task, on_delete=models.CASCADE, db_constraint=False, related_name="parked")
    attempt = models.IntegerField(default=0)
    slots = models.SmallIntegerField(default=1)
    expires_at = models.DateTimeField(null=True)
    parked_at = models.DateTimeField(db_default=Now())

    class Meta:
        verbose_name = _("parked task")
        verbose_name_plural = _("parked tasks")
        default_permissions = ()
        db_table_comment = "Tasks that are held back by a concurrency limit or a rate limit."
        required_db_features = ("supports_comments",)
        indexes = [
            models.Index(fields=["expires_at"], name="djqueue_parked_expires", condition=Q(expires_at__isnull=False)),
        ]

    def __str__(self) -> str:
        return f"{self.task_id} at {self.gate}"


class ConcurrencySlot(models.Model):
    """A slot of a concurrency key, from 1 to its limit, and the task that holds it. The primary key is the arbiter."""

    pk = models.CompositePrimaryKey("gate", "number")
    gate = models.TextField(db_collation="C")
    number = models.SmallIntegerField()
    task = models.OneToOneField(Task, on_delete=models.CASCADE, db_constraint=False, related_name="slot")

    class Meta:
        verbose_name = _("slot")
        verbose_name_plural = _("slots")
        default_permissions = ()
        db_table_comment = "Slots of concurrency keys that tasks hold."
        required_db_features = ("supports_comments",)

    def __str__(self) -> str:
        return f"{self.gate} #{self.number}"


class StreamTicket(models.Model):
    """The place of a task in an ordered stream, drawn when it is enqueued and torn when it starts for the first time.

    One that is left of a task that has ended counts for nothing.
    """

    pk = models.CompositePrimaryKey("gate", "seq")
    gate = models.TextField(db_collation="C")
    seq = models.BigIntegerField(db_default=Func(Value(READY_SEQUENCE), function="nextval"))
    task_id = models.UUIDField()

    class Meta:
        verbose_name = _("ticket")
        verbose_name_plural = _("tickets")
        default_permissions = ()
        db_table_comment = "Places of tasks in ordered streams."
        required_db_features = ("supports_comments",)

    def __str__(self) -> str:
        return f"{self.gate} {self.seq}"


class RateGate(models.Model):
    """The tokens of one rate limit and key.

    The next token is free at ``free_at``; while tasks are parked, tokens are given out at ``wakes_at``. The latest went
    to ``last_task_id``: as long as that is still in line, there are no more.
    """

    gate = models.TextField(primary_key=True, db_collation="C")
    kind = models.SmallIntegerField()
    name = models.TextField(db_collation="C")
    free_at = models.DateTimeField()
    wakes_at = models.DateTimeField(null=True)
    last_task_id = models.UUIDField(null=True)

    class Meta:
        verbose_name = _("rate gate")
        verbose_name_plural = _("rate gates")
        default_permissions = ()
        db_table_comment = "When the next token of each rate limit and key is free."
        required_db_features = ("supports_comments",)
        indexes = [
            models.Index(fields=["kind", "wakes_at"], name="djqueue_rategate_due", condition=Q(wakes_at__isnull=False)),
            models.Index(fields=["kind", "name"], name="djqueue_rategate_limit", condition=Q(wakes_at__isnull=False)),
            models.Index(fields=["free_at"], name="djqueue_rategate_idle", condition=Q(wakes_at__isnull=True)),
        ]

    def __str__(self) -> str:
        return self.gate
