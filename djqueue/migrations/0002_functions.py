"""What models cannot say: storage parameters of the narrow tables, and the hot statements as functions."""

from django.db import migrations

from djqueue.migrations._postgresql import PostgreSQLMigration
from djqueue.migrations._routines import CreateRoutines

NARROW = ("djqueue_readytask", "djqueue_scheduledtask", "djqueue_runningtask")
# Vacuum by number of dead rows, not by share of the table; at full speed; and never by truncating, which would take an
# exclusive lock on the line.
PARAMETERS = {
    "autovacuum_vacuum_scale_factor": "0",
    "autovacuum_vacuum_threshold": "5000",
    "autovacuum_vacuum_cost_delay": "0",
    "autovacuum_analyze_scale_factor": "0",
    "autovacuum_analyze_threshold": "20000",
    "vacuum_truncate": "off",
}


def storage(table: str) -> migrations.RunSQL:
    settings = ", ".join(f"{name} = {value}" for name, value in PARAMETERS.items())
    return migrations.RunSQL(
        f"ALTER TABLE {table} SET ({settings})", f"ALTER TABLE {table} RESET ({', '.join(PARAMETERS)})"
    )


class Migration(PostgreSQLMigration):
    dependencies = [("djqueue", "0001_initial")]

    operations = [
        *[storage(table) for table in NARROW],
        CreateRoutines("", drop_all_backwards=True),
    ]
