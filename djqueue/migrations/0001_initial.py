"""The tables, in the order in which they depend on each other."""

from django.db import migrations, models
from django.db.models import Q
from django.db.models.deletion import CASCADE, DO_NOTHING
from django.db.models.functions import Now

import djqueue.uuid7
from djqueue.migrations._postgresql import PostgreSQLMigration


class Migration(PostgreSQLMigration):
    initial = True

    dependencies = []

    operations = [
        migrations.RunSQL("CREATE SEQUENCE djqueue_readytask_seq CACHE 1", "DROP SEQUENCE djqueue_readytask_seq"),
        migrations.CreateModel(
            name="Task",
            fields=[
                (
                    "id",
                    models.UUIDField(
                        default=djqueue.uuid7.new_uuid,
                        editable=False,
                        primary_key=True,
                        serialize=False,
                        verbose_name="id",
                    ),
                ),
                ("name", models.TextField(verbose_name="name")),
                ("queue", models.TextField(db_collation="C", verbose_name="queue")),
                ("priority", models.SmallIntegerField(default=0, verbose_name="priority")),
                ("args", models.JSONField(default=list, verbose_name="arguments")),
                ("kwargs", models.JSONField(default=dict, verbose_name="keyword arguments")),
                ("options", models.JSONField(null=True, verbose_name="options")),
                ("parent_id", models.UUIDField(null=True)),
                ("root_id", models.UUIDField(null=True)),
                ("group_id", models.UUIDField(null=True)),
                ("group_index", models.IntegerField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now(), verbose_name="created")),
                ("expires_at", models.DateTimeField(null=True, verbose_name="expires")),
                ("max_retries", models.SmallIntegerField(null=True, verbose_name="maximum of retries")),
            ],
            options={
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
                "default_permissions": ("view", "delete"),
                "db_table_comment": "One requested run each; written once, never updated.",
                "constraints": [
                    models.CheckConstraint(
                        name="djqueue_task_priority", condition=Q(priority__gte=-100, priority__lte=100)
                    ),
                    models.CheckConstraint(name="djqueue_task_named", condition=~Q(name="") & ~Q(queue="")),
                ],
            },
        ),
        migrations.CreateModel(
            name="Queue",
            fields=[
                ("name", models.TextField(db_collation="C", primary_key=True, serialize=False, verbose_name="name")),
                ("paused_until", models.DateTimeField(blank=True, null=True, verbose_name="paused until")),
                ("created_at", models.DateTimeField(db_default=Now(), verbose_name="first seen")),
            ],
            options={
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
                "default_permissions": ("view",),
                "db_table_comment": "Queues that workers have met.",
            },
        ),
        migrations.CreateModel(
            name="Worker",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.TextField(verbose_name="name")),
                ("host", models.TextField(verbose_name="host")),
                ("pid", models.IntegerField(verbose_name="process id")),
                ("queues", models.TextField(verbose_name="queues")),
                ("pool", models.TextField(verbose_name="pool")),
                ("concurrency", models.IntegerField(verbose_name="concurrency")),
                ("version", models.TextField(verbose_name="version")),
                ("started_at", models.DateTimeField(db_default=Now(), verbose_name="started")),
                ("heartbeat_at", models.DateTimeField(db_default=Now(), verbose_name="last heartbeat")),
                ("lease_until", models.DateTimeField(verbose_name="lease until")),
                ("draining", models.BooleanField(default=False, verbose_name="draining")),
                ("running", models.IntegerField(default=0, verbose_name="running now")),
                ("succeeded", models.BigIntegerField(default=0, verbose_name="succeeded")),
                ("failed", models.BigIntegerField(default=0, verbose_name="failed")),
                ("lost", models.BigIntegerField(default=0, verbose_name="lost")),
            ],
            options={
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
                "default_permissions": ("view",),
                "db_table_comment": "Live workers; one heartbeat row each.",
            },
        ),
        migrations.CreateModel(
            name="ReadyTask",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "queue", "priority", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("queue", models.TextField(db_collation="C")),
                ("priority", models.SmallIntegerField()),
                (
                    "seq",
                    models.BigIntegerField(
                        db_default=models.Func(models.Value("djqueue_readytask_seq"), function="nextval")
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=CASCADE,
                        related_name="ready_rows",
                        to="djqueue.task",
                    ),
                ),
                ("attempt", models.SmallIntegerField(default=0)),
            ],
            options={
                "verbose_name": "ready task",
                "verbose_name_plural": "ready tasks",
                "default_permissions": (),
                "db_table_comment": "Tasks in line; a claim deletes the row.",
            },
        ),
        migrations.CreateModel(
            name="ScheduledTask",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "run_at", "task", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("run_at", models.DateTimeField(verbose_name="run at")),
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False, on_delete=CASCADE, related_name="scheduled", to="djqueue.task"
                    ),
                ),
                ("attempt", models.SmallIntegerField(default=0)),
                ("reason", models.SmallIntegerField(choices=[(1, "eta"), (2, "retry"), (3, "rate")], default=1)),
            ],
            options={
                "verbose_name": "scheduled task",
                "verbose_name_plural": "scheduled tasks",
                "default_permissions": (),
                "db_table_comment": "Tasks that are not due yet; promoted when they are.",
                "constraints": [
                    models.CheckConstraint(name="djqueue_scheduled_reason", condition=Q(reason__in=[1, 2, 3])),
                ],
            },
        ),
        migrations.CreateModel(
            name="RunningTask",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=CASCADE,
                        primary_key=True,
                        related_name="running",
                        serialize=False,
                        to="djqueue.task",
                    ),
                ),
                ("attempt", models.SmallIntegerField()),
                (
                    "worker",
                    models.ForeignKey(
                        db_constraint=False, on_delete=DO_NOTHING, related_name="running_tasks", to="djqueue.worker"
                    ),
                ),
                ("claimed_at", models.DateTimeField()),
                ("deadline", models.DateTimeField(null=True)),
            ],
            options={
                "verbose_name": "running task",
                "verbose_name_plural": "running tasks",
                "default_permissions": (),
                "db_table_comment": "Leases: attempts that workers hold now.",
                "constraints": [
                    models.CheckConstraint(name="djqueue_running_attempt", condition=Q(attempt__gte=1)),
                ],
            },
        ),
        migrations.CreateModel(
            name="TaskResult",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=CASCADE,
                        primary_key=True,
                        related_name="result",
                        serialize=False,
                        to="djqueue.task",
                    ),
                ),
                (
                    "state",
                    models.SmallIntegerField(
                        choices=[(5, "succeeded"), (6, "failed"), (7, "cancelled")], verbose_name="state"
                    ),
                ),
                ("attempt", models.SmallIntegerField(verbose_name="attempt")),
                ("worker", models.TextField(verbose_name="worker")),
                ("value", models.JSONField(null=True, verbose_name="value")),
                ("error", models.JSONField(null=True, verbose_name="error")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                ("finished_at", models.DateTimeField(verbose_name="finished")),
            ],
            options={
                "verbose_name": "result",
                "verbose_name_plural": "results",
                "default_permissions": ("view", "delete"),
                "db_table_comment": "Finished tasks; pruned by age.",
                "indexes": [
                    models.Index(fields=["finished_at"], name="djqueue_result_finished"),
                    models.Index(fields=["finished_at"], name="djqueue_result_unsuccessful", condition=~Q(state=5)),
                ],
                "constraints": [
                    models.CheckConstraint(
                        name="djqueue_result_shape",
                        condition=(
                            Q(state=5, error__isnull=True)
                            | Q(state=6, error__isnull=False, value__isnull=True)
                            | Q(state=7, value__isnull=True)
                        ),
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="TaskAttempt",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "task", "attempt", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=CASCADE,
                        related_name="attempts",
                        to="djqueue.task",
                    ),
                ),
                ("attempt", models.SmallIntegerField(verbose_name="attempt")),
                ("outcome", models.SmallIntegerField(choices=[(6, "failed"), (9, "lost")], verbose_name="outcome")),
                ("worker", models.TextField(verbose_name="worker")),
                ("error", models.JSONField(verbose_name="error")),
                ("started_at", models.DateTimeField(null=True, verbose_name="started")),
                ("finished_at", models.DateTimeField(verbose_name="finished")),
            ],
            options={
                "verbose_name": "attempt",
                "verbose_name_plural": "attempts",
                "default_permissions": ("view",),
                "db_table_comment": "Attempts that did not succeed.",
                "constraints": [
                    models.CheckConstraint(
                        name="djqueue_attempt_outcome", condition=Q(outcome__in=[6, 9], attempt__gte=1)
                    ),
                ],
            },
        ),
    ]
