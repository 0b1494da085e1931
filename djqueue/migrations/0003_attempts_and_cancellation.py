"""Retries, what tasks show of their progress, notes of cancellations, and an index for pruning."""

from django.db import migrations, models
from django.db.models import Q

from djqueue.migrations._postgresql import PostgreSQLMigration
from djqueue.migrations._routines import CreateRoutines

OUTCOMES = [(6, "failed"), (9, "lost"), (11, "retried")]


class Migration(PostgreSQLMigration):
    dependencies = [("djqueue", "0002_functions")]

    operations = [
        # A task that is retried for ever once a second has 32,767 attempts behind it after nine hours.
        *[
            migrations.AlterField(model, "attempt", models.IntegerField(default=0))
            for model in ("readytask", "scheduledtask")
        ],
        migrations.AlterField("runningtask", "attempt", models.IntegerField()),
        *[
            migrations.AlterField(model, "attempt", models.IntegerField(verbose_name="attempt"))
            for model in ("taskresult", "taskattempt")
        ],
        migrations.AddField("runningtask", "state", models.TextField(null=True)),
        migrations.AddField("runningtask", "meta", models.JSONField(null=True)),
        migrations.AddField("runningtask", "once", models.BooleanField(db_default=False)),
        migrations.RemoveConstraint("taskattempt", "djqueue_attempt_outcome"),
        # Backwards, the constraint before this migration knows no retries.
        migrations.RunSQL(migrations.RunSQL.noop, "DELETE FROM djqueue_taskattempt WHERE outcome = 11"),
        migrations.AlterField(
            "taskattempt", "outcome", models.SmallIntegerField(choices=OUTCOMES, verbose_name="outcome")
        ),
        migrations.AddConstraint(
            "taskattempt",
            models.CheckConstraint(name="djqueue_attempt_outcome", condition=Q(outcome__in=[6, 9, 11], attempt__gte=1)),
        ),
        migrations.RemoveIndex("taskresult", "djqueue_result_finished"),
        migrations.AddIndex(
            "taskresult", models.Index(fields=["finished_at", "state"], name="djqueue_result_finished")
        ),
        migrations.CreateModel(
            name="CancelledTask",
            fields=[
                ("task_id", models.UUIDField(primary_key=True, serialize=False)),
                ("terminate", models.BooleanField(default=False)),
                ("signum", models.SmallIntegerField(null=True)),
                ("asked_at", models.DateTimeField()),
            ],
            options={
                "verbose_name": "cancellation",
                "verbose_name_plural": "cancellations",
                "db_table_comment": "Cancellations that wait for a worker or for their task; nearly always empty.",
                "default_permissions": (),
                "required_db_features": ("supports_comments",),
            },
        ),
        CreateRoutines("046f7c68b27e"),
    ]
