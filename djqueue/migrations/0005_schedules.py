"""Schedules, and what became of their slots."""

import datetime

import django.core.validators
import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from djqueue.migrations._postgresql import PostgreSQLMigration


class Migration(PostgreSQLMigration):
    dependencies = [
        ("djqueue", "0004_worker_processes"),
    ]

    operations = [
        migrations.CreateModel(
            name="Schedule",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("name", models.TextField(unique=True, verbose_name="name")),
                (
                    "task",
                    models.TextField(
                        help_text="The name of the task, such as shop.tasks.send_reminders.", verbose_name="task"
                    ),
                ),
                ("args", models.JSONField(blank=True, default=list, verbose_name="arguments")),
                ("kwargs", models.JSONField(blank=True, default=dict, verbose_name="keyword arguments")),
                (
                    "queue",
                    models.TextField(
                        blank=True, db_collation="C", help_text="Empty: that of the task.", verbose_name="queue"
                    ),
                ),
                (
                    "priority",
                    models.SmallIntegerField(
                        blank=True,
                        help_text="-100 to 100, higher first. Empty: that of the task.",
                        null=True,
                        validators=[
                            django.core.validators.MinValueValidator(-100),
                            django.core.validators.MaxValueValidator(100),
                        ],
                        verbose_name="priority",
                    ),
                ),
                ("options", models.JSONField(blank=True, default=dict, verbose_name="further options")),
                (
                    "kind",
                    models.TextField(
                        choices=[
                            ("crontab", "crontab"),
                            ("cron", "cron string"),
                            ("interval", "interval"),
                            ("clocked", "once"),
                            ("solar", "solar"),
                        ],
                        default="crontab",
                        verbose_name="kind",
                    ),
                ),
                ("expression", models.TextField(blank=True, verbose_name="expression")),
                ("every", models.DurationField(blank=True, null=True, verbose_name="every")),
                ("relative", models.BooleanField(default=False, verbose_name="by the clock on the wall")),
                ("clocked_at", models.DateTimeField(blank=True, null=True, verbose_name="at")),
                ("solar_event", models.TextField(blank=True, verbose_name="event of the sun")),
                ("latitude", models.FloatField(blank=True, null=True, verbose_name="latitude")),
                ("longitude", models.FloatField(blank=True, null=True, verbose_name="longitude")),
                (
                    "timezone",
                    models.TextField(blank=True, help_text="Empty: that of the site.", verbose_name="time zone"),
                ),
                ("start_at", models.DateTimeField(blank=True, null=True, verbose_name="not before")),
                ("end_at", models.DateTimeField(blank=True, null=True, verbose_name="not after")),
                ("expires", models.DurationField(blank=True, null=True, verbose_name="expires after")),
                ("jitter", models.DurationField(blank=True, default=datetime.timedelta(0), verbose_name="jitter")),
                (
                    "misfire",
                    models.SmallIntegerField(
                        choices=[(1, "skip them"), (2, "run once for all of them"), (3, "run all of them")],
                        default=2,
                        verbose_name="missed slots",
                    ),
                ),
                (
                    "misfire_limit",
                    models.IntegerField(
                        default=100,
                        help_text="Slots that are fired in one go, the latest ones.",
                        validators=[
                            django.core.validators.MinValueValidator(1),
                            django.core.validators.MaxValueValidator(10000),
                        ],
                        verbose_name="at most",
                    ),
                ),
                (
                    "overlap",
                    models.SmallIntegerField(
                        choices=[(1, "run all the same"), (2, "skip the slot"), (3, "wait for the end")],
                        default=1,
                        verbose_name="while the last run goes on",
                    ),
                ),
                ("one_off", models.BooleanField(default=False, verbose_name="run only once")),
                ("enabled", models.BooleanField(default=True, verbose_name="enabled")),
                ("description", models.TextField(blank=True, verbose_name="description")),
                (
                    "source",
                    models.SmallIntegerField(
                        choices=[(1, "code"), (2, "admin")], default=2, editable=False, verbose_name="source"
                    ),
                ),
                ("declared", models.JSONField(editable=False, null=True)),
                ("next_run_at", models.DateTimeField(editable=False, null=True, verbose_name="next run")),
                ("held_until", models.DateTimeField(editable=False, null=True)),
                ("last_run_at", models.DateTimeField(editable=False, null=True, verbose_name="last run")),
                ("last_task_id", models.UUIDField(editable=False, null=True)),
                ("total_runs", models.BigIntegerField(default=0, editable=False, verbose_name="runs")),
                ("total_skipped", models.BigIntegerField(default=0, editable=False, verbose_name="skipped")),
                ("last_error", models.TextField(blank=True, default="", editable=False, verbose_name="last error")),
                ("last_error_at", models.DateTimeField(editable=False, null=True)),
                (
                    "created_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="created"
                    ),
                ),
            ],
            options={
                "verbose_name": "schedule",
                "verbose_name_plural": "schedules",
                "db_table_comment": "When to enqueue which task; beats advance next_run_at.",
                "permissions": [
                    ("run_schedule", "Can run a schedule now"),
                    ("switch_schedule", "Can switch schedules on and off"),
                ],
                "required_db_features": ("supports_comments",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("enabled", True)), fields=["next_run_at", "id"], name="djqueue_schedule_due"
                    ),
                    models.Index(
                        condition=models.Q(("enabled", True), ("held_until__isnull", False)),
                        fields=["held_until"],
                        name="djqueue_schedule_held",
                    ),
                ],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("name", ""), _negated=True), models.Q(("task", ""), _negated=True)
                        ),
                        name="djqueue_schedule_named",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            models.Q(("kind__in", ["crontab", "cron"]), models.Q(("expression", ""), _negated=True)),
                            models.Q(("every__isnull", False), ("kind", "interval")),
                            models.Q(("clocked_at__isnull", False), ("kind", "clocked")),
                            models.Q(
                                ("kind", "solar"),
                                ("latitude__isnull", False),
                                ("longitude__isnull", False),
                                models.Q(("solar_event", ""), _negated=True),
                            ),
                            _connector="OR",
                        ),
                        name="djqueue_schedule_when",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(
                            ("jitter__gte", datetime.timedelta(0)),
                            ("misfire__in", [1, 2, 3]),
                            ("misfire_limit__gte", 1),
                            ("overlap__in", [1, 2, 3]),
                        ),
                        name="djqueue_schedule_rules",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ScheduleRun",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "schedule", "due_at", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("due_at", models.DateTimeField(verbose_name="due")),
                ("fired_at", models.DateTimeField(verbose_name="fired")),
                (
                    "fate",
                    models.SmallIntegerField(
                        choices=[(1, "enqueued"), (2, "skipped"), (3, "missed"), (4, "failed"), (5, "by hand")],
                        verbose_name="outcome",
                    ),
                ),
                ("task_id", models.UUIDField(null=True)),
                ("note", models.TextField(blank=True, default="", verbose_name="note")),
                (
                    "schedule",
                    models.ForeignKey(
                        db_constraint=False,
                        db_index=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="runs",
                        to="djqueue.schedule",
                    ),
                ),
            ],
            options={
                "verbose_name": "run of a schedule",
                "verbose_name_plural": "runs of schedules",
                "db_table_comment": "Slots of schedules and what became of them; pruned by age.",
                "default_permissions": ("view",),
                "required_db_features": ("supports_comments",),
                "indexes": [models.Index(fields=["due_at"], name="djqueue_schedulerun_due")],
                "constraints": [
                    models.CheckConstraint(
                        condition=models.Q(("fate__in", [1, 2, 3, 4, 5])), name="djqueue_schedulerun_fate"
                    )
                ],
            },
        ),
    ]
