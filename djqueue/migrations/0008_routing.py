"""Routing and uniqueness."""

import django.db.models.deletion
from django.db import migrations, models
from django.db.models import Q

import djqueue.models.routing
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
    dependencies = [("djqueue", "0007_limits")]

    operations = [
        migrations.CreateModel(
            name="Exchange",
            fields=[
                (
                    "name",
                    models.CharField(
                        db_collation="C", max_length=255, primary_key=True, serialize=False, verbose_name="name"
                    ),
                ),
                (
                    "kind",
                    models.CharField(
                        choices=[
                            ("direct", "direct: the routing key is that of the binding"),
                            ("topic", "topic: * stands for one word, # for any number of words"),
                            ("fanout", "fanout: every binding, whatever the routing key"),
                        ],
                        default="direct",
                        max_length=10,
                        verbose_name="kind",
                    ),
                ),
                ("description", models.TextField(blank=True, verbose_name="description")),
            ],
            options={
                "verbose_name": "exchange",
                "verbose_name_plural": "exchanges",
                "db_table_comment": (
                    "What calls may name in place of a queue; producers read them anew every few seconds."
                ),
                "required_db_features": ("supports_comments",),
                "constraints": [
                    models.CheckConstraint(
                        condition=Q(kind__in=["direct", "topic", "fanout"]), name="djqueue_exchange_kind"
                    )
                ],
            },
        ),
        migrations.CreateModel(
            name="Binding",
            fields=[
                ("id", models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name="ID")),
                (
                    "routing_key",
                    models.CharField(
                        blank=True,
                        db_collation="C",
                        help_text="For a topic a pattern, such as orders.*.paid or logs.#; for a fanout empty.",
                        max_length=255,
                        verbose_name="routing key",
                    ),
                ),
                (
                    "queue",
                    models.CharField(
                        db_collation="C",
                        max_length=128,
                        validators=[djqueue.models.routing.validate_queue],
                        verbose_name="queue",
                    ),
                ),
                (
                    "exchange",
                    models.ForeignKey(
                        on_delete=django.db.models.deletion.CASCADE, related_name="bindings", to="djqueue.exchange"
                    ),
                ),
            ],
            options={
                "verbose_name": "binding",
                "verbose_name_plural": "bindings",
                "db_table_comment": "The queues that exchanges lead to.",
                "required_db_features": ("supports_comments",),
                "constraints": [
                    models.UniqueConstraint(fields=("exchange", "routing_key", "queue"), name="djqueue_binding_once"),
                    models.CheckConstraint(condition=~Q(queue=""), name="djqueue_binding_queue"),
                ],
            },
        ),
        migrations.CreateModel(
            name="UniqueKey",
            fields=[
                ("key", models.TextField(db_collation="C", primary_key=True, serialize=False)),
                ("task_id", models.UUIDField()),
                ("until", models.SmallIntegerField(choices=[(1, "start"), (2, "finish")])),
                ("held_until", models.DateTimeField(null=True)),
                ("first_at", models.DateTimeField()),
                ("seq", models.BigIntegerField()),
            ],
            options={
                "verbose_name": "unique key",
                "verbose_name_plural": "unique keys",
                "default_permissions": (),
                "db_table_comment": "Which task took a unique key last; pruned when the task has finished.",
                "required_db_features": ("supports_comments",),
                "constraints": [models.CheckConstraint(condition=Q(until__in=[1, 2]), name="djqueue_unique_until")],
            },
        ),
        migrations.RunSQL(
            f"ALTER TABLE djqueue_uniquekey SET ({', '.join(f'{key} = {value}' for key, value in STORAGE.items())})",
            migrations.RunSQL.noop,
        ),
        CreateRoutines("66fcec5afc12"),
    ]
