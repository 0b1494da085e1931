"""How many executors a worker has."""

from django.db import migrations, models

from djqueue.migrations._postgresql import PostgreSQLMigration


class Migration(PostgreSQLMigration):
    dependencies = [("djqueue", "0003_attempts_and_cancellation")]

    operations = [
        migrations.AddField("worker", "processes", models.IntegerField(db_default=1, verbose_name="processes")),
    ]
