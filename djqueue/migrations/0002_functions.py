"""What models cannot say: storage parameters of the narrow tables, and the hot statements as functions."""

from django.db import migrations

from djqueue.migrations._postgresql import PostgreSQLMigration
from djqueue.store.claim import CLAIM
from djqueue.store.floor import LOWEST
from djqueue.store.insert import INSERT_READY
from djqueue.store.lanes import GAPS
from djqueue.store.lose import LOSE
from djqueue.store.promote import PROMOTE
from djqueue.store.release import RELEASE
from djqueue.store.retry import RETRY
from djqueue.store.settle import SETTLE

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
        *[
            migrations.RunSQL(function.create, function.drop)
            for function in (INSERT_READY, CLAIM, SETTLE, RELEASE, LOSE, RETRY, PROMOTE, GAPS, LOWEST)
        ],
    ]
