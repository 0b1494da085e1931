"""Limits: rates, tasks that are held back, and the slots that the others hold."""

import django.db.models.deletion
import django.db.models.functions.datetime
from django.db import migrations, models

from djqueue.migrations._postgresql import PostgreSQLMigration
from djqueue.migrations._routines import CreateRoutines

# Narrow tables of which rows only come and go, as that of the tasks in line.
STORAGE = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "20000",
    "vacuum_truncate": "off",
}
NARROW = ("parkedtask", "concurrencyslot", "streamticket", "rategate")


class Migration(PostgreSQLMigration):
    dependencies = [
        ("djqueue", "0006_workflows"),
    ]

    operations = [
        migrations.CreateModel(
            name="StreamTicket",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "gate", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("gate", models.TextField(db_collation="C")),
                (
                    "seq",
                    models.BigIntegerField(
                        db_default=models.Func(models.Value("djqueue_readytask_seq"), function="nextval")
                    ),
                ),
                ("task_id", models.UUIDField()),
            ],
            options={
                "verbose_name": "ticket",
                "verbose_name_plural": "tickets",
                "db_table_comment": "Places of tasks in ordered streams.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
            },
        ),
        migrations.CreateModel(
            name="ConcurrencySlot",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "gate", "number", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("gate", models.TextField(db_collation="C")),
                ("number", models.SmallIntegerField()),
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="slot",
                        to="djqueue.task",
                    ),
                ),
            ],
            options={
                "verbose_name": "slot",
                "verbose_name_plural": "slots",
                "db_table_comment": "Slots of concurrency keys that tasks hold.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
            },
        ),
        migrations.CreateModel(
            name="RateGate",
            fields=[
                ("gate", models.TextField(db_collation="C", primary_key=True, serialize=False)),
                ("kind", models.SmallIntegerField()),
                ("name", models.TextField(db_collation="C")),
                ("free_at", models.DateTimeField()),
                ("wakes_at", models.DateTimeField(null=True)),
                ("last_task_id", models.UUIDField(null=True)),
            ],
            options={
                "verbose_name": "rate gate",
                "verbose_name_plural": "rate gates",
                "db_table_comment": "When the next token of each rate limit and key is free.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("wakes_at__isnull", False)),
                        fields=["kind", "wakes_at"],
                        name="djqueue_rategate_due",
                    ),
                    models.Index(
                        condition=models.Q(("wakes_at__isnull", False)),
                        fields=["kind", "name"],
                        name="djqueue_rategate_limit",
                    ),
                    models.Index(
                        condition=models.Q(("wakes_at__isnull", True)), fields=["free_at"], name="djqueue_rategate_idle"
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="RateLimit",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                ("kind", models.SmallIntegerField(choices=[(1, "task"), (2, "queue")], default=1, verbose_name="of")),
                ("name", models.TextField(db_collation="C", verbose_name="name")),
                ("declared", models.TextField(blank=True, default="", editable=False, verbose_name="declared")),
                ("rate", models.TextField(blank=True, default="", verbose_name="rate")),
                ("strict", models.BooleanField(default=False, verbose_name="strict")),
                ("per_second", models.FloatField(editable=False, null=True, verbose_name="tasks per second")),
                (
                    "changed_at",
                    models.DateTimeField(
                        db_default=django.db.models.functions.datetime.Now(), editable=False, verbose_name="changed"
                    ),
                ),
            ],
            options={
                "verbose_name": "rate limit",
                "verbose_name_plural": "rate limits",
                "db_table_comment": "Rate limits of tasks and queues, for all workers together.",
                "required_db_features": ("supports_comments",),
                "constraints": [
                    models.UniqueConstraint(fields=("kind", "name"), name="djqueue_ratelimit_kind_name_key"),
                    models.CheckConstraint(
                        condition=models.Q(("kind__in", [1, 2]), models.Q(("name", ""), _negated=True)),
                        name="djqueue_ratelimit_shape",
                    ),
                    models.CheckConstraint(
                        condition=models.Q(("per_second__gt", 0), ("per_second__isnull", True), _connector="OR"),
                        name="djqueue_ratelimit_rate",
                    ),
                ],
            },
        ),
        migrations.CreateModel(
            name="ParkedTask",
            fields=[
                (
                    "pk",
                    models.CompositePrimaryKey(
                        "gate", "rank", "seq", blank=True, editable=False, primary_key=True, serialize=False
                    ),
                ),
                ("gate", models.TextField(db_collation="C")),
                ("rank", models.SmallIntegerField()),
                (
                    "seq",
                    models.BigIntegerField(
                        db_default=models.Func(models.Value("djqueue_readytask_seq"), function="nextval")
                    ),
                ),
                ("attempt", models.IntegerField(default=0)),
                ("slots", models.SmallIntegerField(default=1)),
                ("expires_at", models.DateTimeField(null=True)),
                ("parked_at", models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                (
                    "task",
                    models.OneToOneField(
                        db_constraint=False,
                        on_delete=django.db.models.deletion.CASCADE,
                        related_name="parked",
                        to="djqueue.task",
                    ),
                ),
            ],
            options={
                "verbose_name": "parked task",
                "verbose_name_plural": "parked tasks",
                "db_table_comment": "Tasks that are held back by a concurrency limit or a rate limit.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
                "indexes": [
                    models.Index(
                        condition=models.Q(("expires_at__isnull", False)),
                        fields=["expires_at"],
                        name="djqueue_parked_expires",
                    )
                ],
            },
        ),
        *(
            migrations.RunSQL(
                f"ALTER TABLE djqueue_{table} SET ({', '.join(f'{key} = {value}' for key, value in STORAGE.items())})",
                migrations.RunSQL.noop,
            )
            for table in NARROW
        ),
        CreateRoutines("66fcec5afc12"),
    ]
