"""Statistics, logs of tasks, and permissions for what can be done to tasks, queues and workers by hand."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models.functions import Now

import djqueue.models.statistic
from djqueue.migrations._postgresql import PostgreSQLMigration
from djqueue.migrations._routines import CreateRoutines


class Migration(PostgreSQLMigration):
    dependencies = [("djqueue", "0009_control")]

    operations = [
        migrations.CreateModel(
            name="Statistic",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("at", models.DateTimeField(verbose_name="time")),
                ("resolution", models.SmallIntegerField(verbose_name="minutes")),
                ("name", models.TextField(verbose_name="task")),
                ("queue", models.TextField(db_collation="C", verbose_name="queue")),
                ("succeeded", models.IntegerField(db_default=0, verbose_name="succeeded")),
                ("failed", models.IntegerField(db_default=0, verbose_name="failed")),
                ("retried", models.IntegerField(db_default=0, verbose_name="retried")),
                ("cancelled", models.IntegerField(db_default=0, verbose_name="cancelled")),
                ("lost", models.IntegerField(db_default=0, verbose_name="lost")),
                ("steps", djqueue.models.statistic.IntegerList(null=True)),
                ("counts", djqueue.models.statistic.IntegerList(null=True)),
            ],
            options={
                "verbose_name": "statistic",
                "verbose_name_plural": "dashboard",
                "db_table_comment": "Sums of how attempts ended; only inserted and deleted, kept by age.",
                "default_permissions": ("view",),
                "required_db_features": ("supports_comments",),
                "indexes": [models.Index(fields=["resolution", "at"], name="djqueue_statistic_at")],
            },
        ),
        migrations.AlterModelOptions(
            name="task",
            options={
                "default_permissions": ("view", "delete"),
                "permissions": [
                    ("retry_task", "Can run a task again"),
                    ("cancel_task", "Can cancel tasks"),
                    ("terminate_task", "Can end tasks that run"),
                    ("run_task", "Can run a scheduled task now"),
                    ("reschedule_task", "Can run a task at another time"),
                    ("move_task", "Can move tasks to another queue"),
                    ("prioritise_task", "Can change the priority of tasks"),
                    ("enqueue_task", "Can enqueue tasks by a form"),
                ],
                "required_db_features": ("supports_comments",),
                "verbose_name": "task",
                "verbose_name_plural": "tasks",
            },
        ),
        migrations.AlterModelOptions(
            name="queue",
            options={
                "default_permissions": ("view",),
                "permissions": [
                    ("pause_queue", "Can pause and resume queues"),
                    ("purge_queue", "Can drop all tasks in a queue"),
                ],
                "required_db_features": ("supports_comments",),
                "verbose_name": "queue",
                "verbose_name_plural": "queues",
            },
        ),
        migrations.AlterModelOptions(
            name="worker",
            options={
                "default_permissions": ("view",),
                "permissions": [("control_worker", "Can quiet, stop, grow and shrink workers")],
                "required_db_features": ("supports_comments",),
                "verbose_name": "worker",
                "verbose_name_plural": "workers",
            },
        ),
        migrations.CreateModel(
            name="TaskLog",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("attempt", models.IntegerField(verbose_name="attempt")),
                ("text", models.TextField(verbose_name="text")),
                ("written_at", models.DateTimeField(db_default=Now(), verbose_name="written")),
                (
                    "task",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="logs",
                        to="djqueue.task",
                    ),
                ),
            ],
            options={
                "verbose_name": "log",
                "verbose_name_plural": "logs",
                "db_table_comment": "What attempts logged, where that is captured; kept by age.",
                "default_permissions": ("view",),
                "required_db_features": ("supports_comments",),
                "indexes": [models.Index(fields=["written_at"], name="djqueue_tasklog_written")],
            },
        ),
        CreateRoutines("15e4303ebe8f"),
    ]
