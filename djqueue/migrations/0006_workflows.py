"""Workflows: tasks that wait for others, and groups that something waits for."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

from djqueue.migrations._postgresql import PostgreSQLMigration
from djqueue.migrations._routines import CreateRoutines

# A narrow table of which rows only come and go, as that of the tasks in line.
STORAGE = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "20000",
    "vacuum_truncate": "off",
}


class Migration(PostgreSQLMigration):
    dependencies = [("djqueue", "0005_schedules")]

    operations = [
        migrations.CreateModel(
            name="TaskGroup",
            fields=[
                ("id", models.UUIDField(primary_key=True, serialize=False)),
                ("workflow_id", models.UUIDField(null=True)),
                ("group_id", models.UUIDField(null=True)),
                ("group_index", models.IntegerField(null=True)),
                ("size", models.IntegerField()),
                ("pending", models.IntegerField(null=True)),
                ("failed", models.BooleanField(db_default=False)),
                ("value", models.JSONField(null=True)),
                ("saved", models.JSONField(null=True)),
                ("created_at", models.DateTimeField(db_default=Now())),
            ],
            options={
                "verbose_name": "group",
                "verbose_name_plural": "groups",
                "db_table_comment": "Groups of tasks that something waits for, or whose results were saved.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
            },
        ),
        migrations.CreateModel(
            name="WaitingTask",
            fields=[
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        primary_key=True,
                        related_name="waiting",
                        serialize=False,
                        to="djqueue.task",
                    ),
                ),
                ("waits_for", models.UUIDField()),
                ("takes", models.SmallIntegerField(choices=[(1, "value"), (2, "nothing"), (3, "its_place")])),
                ("attempt", models.IntegerField(default=0)),
                ("run_at", models.DateTimeField(null=True)),
                ("run_in", models.FloatField(null=True)),
                ("expires_in", models.FloatField(null=True)),
            ],
            options={
                "verbose_name": "waiting task",
                "verbose_name_plural": "waiting tasks",
                "db_table_comment": "Tasks of workflows that wait for a task or a group to succeed.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
            },
        ),
        # Deadlines are in memory that executors share with their worker.
        migrations.RemoveField("runningtask", "deadline"),
        migrations.AddField("task", "workflow_id", models.UUIDField(null=True)),
        migrations.AddIndex(
            "task", models.Index(fields=["parent_id"], name="djqueue_task_parent", condition=Q(parent_id__isnull=False))
        ),
        migrations.AddIndex(
            "task",
            models.Index(
                fields=["group_id", "group_index"], name="djqueue_task_group", condition=Q(group_id__isnull=False)
            ),
        ),
        migrations.AddIndex(
            "task",
            models.Index(fields=["workflow_id"], name="djqueue_task_workflow", condition=Q(workflow_id__isnull=False)),
        ),
        migrations.AddIndex(
            "taskgroup",
            models.Index(fields=["group_id"], name="djqueue_group_of_group", condition=Q(group_id__isnull=False)),
        ),
        migrations.AddIndex("taskgroup", models.Index(fields=["workflow_id"], name="djqueue_group_workflow")),
        migrations.AddIndex("waitingtask", models.Index(fields=["waits_for"], name="djqueue_waiting_for")),
        migrations.AddConstraint(
            "waitingtask", models.CheckConstraint(name="djqueue_waiting_takes", condition=Q(takes__in=[1, 2, 3]))
        ),
        migrations.RunSQL(
            f"ALTER TABLE djqueue_waitingtask SET ({', '.join(f'{key} = {value}' for key, value in STORAGE.items())})",
            migrations.RunSQL.noop,
        ),
        CreateRoutines("b04f45cddfb3"),
    ]
