"""Control: commands to workers with their replies, and pauses."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q
from django.db.models.functions import Now

from djqueue.migrations._postgresql import PostgreSQLMigration


class Migration(PostgreSQLMigration):
    dependencies = [("djqueue", "0008_routing")]

    operations = [
        migrations.CreateModel(
            name="WorkerCommand",
            fields=[
                ("id", models.BigAutoField(primary_key=True, serialize=False)),
                ("name", models.TextField(verbose_name="name")),
                ("arguments", models.JSONField(default=dict, verbose_name="arguments")),
                ("asked_at", models.DateTimeField(db_default=Now(), verbose_name="asked")),
                ("expires_at", models.DateTimeField(verbose_name="expires")),
            ],
            options={
                "verbose_name": "command",
                "verbose_name_plural": "commands",
                "db_table_comment": "Commands to workers; kept for some minutes.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
            },
        ),
        migrations.CreateModel(
            name="CommandReply",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "command", "worker_id", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                (
                    "command",
                    models.ForeignKey(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="replies",
                        to="djqueue.workercommand",
                    ),
                ),
                ("worker_id", models.BigIntegerField()),
                ("worker", models.TextField(verbose_name="worker")),
                ("taken_at", models.DateTimeField(null=True)),
                ("answered_at", models.DateTimeField(null=True)),
                ("value", models.JSONField(null=True)),
                ("error", models.TextField(null=True)),
            ],
            options={
                "verbose_name": "reply",
                "verbose_name_plural": "replies",
                "db_table_comment": "What workers were asked, and their answers; kept as long as the command.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
            },
        ),
        migrations.AddIndex(
            "commandreply",
            models.Index(fields=["worker_id"], name="djqueue_reply_open", condition=Q(taken_at__isnull=True)),
        ),
        migrations.CreateModel(
            name="Pause",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "kind",
                    models.TextField(choices=[("task", "task"), ("key", "key")], verbose_name="kind"),
                ),
                ("name", models.TextField(verbose_name="name")),
                ("until", models.DateTimeField(verbose_name="until")),
                ("paused_at", models.DateTimeField(db_default=Now(), verbose_name="paused")),
            ],
            options={
                "verbose_name": "pause",
                "verbose_name_plural": "pauses",
                "db_table_comment": "Tasks, by name or key, that are not started for a while.",
                "default_permissions": ("view", "add", "delete"),
                "required_db_features": ("supports_comments",),
            },
        ),
        migrations.AddConstraint("pause", models.UniqueConstraint(fields=["kind", "name"], name="djqueue_pause_once")),
        migrations.AddConstraint(
            "pause", models.CheckConstraint(condition=Q(kind__in=["task", "key"]), name="djqueue_pause_kind")
        ),
        migrations.RemoveConstraint("scheduledtask", "djqueue_scheduled_reason"),
        migrations.AlterField(
            "scheduledtask",
            "reason",
            models.SmallIntegerField(choices=[(1, "eta"), (2, "retry"), (3, "rate"), (4, "paused")], default=1),
        ),
        migrations.AddConstraint(
            "scheduledtask",
            models.CheckConstraint(condition=Q(reason__in=[1, 2, 3, 4]), name="djqueue_scheduled_reason"),
        ),
        migrations.AddIndex(
            "scheduledtask",
            models.Index(fields=["run_at", "task"], name="djqueue_scheduled_paused", condition=Q(reason=4)),
        ),
    ]
