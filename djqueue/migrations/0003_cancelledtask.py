"""Notes of cancellations that could not be carried out at once."""

from django.db import migrations, models

from djqueue.migrations._postgresql import PostgreSQLMigration


class Migration(PostgreSQLMigration):
    dependencies = [("djqueue", "0002_functions")]

    operations = [
        migrations.CreateModel(
            name="CancelledTask",
            fields=[
                ("task_id", models.UUIDField(primary_key=True, serialize=False)),
                ("terminate", models.BooleanField(default=False)),
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
    ]
