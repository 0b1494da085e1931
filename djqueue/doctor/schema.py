"""Checks of the schema: tables, functions and storage parameters are those that the migrations made."""

from __future__ import annotations

from collections.abc import Iterator
from importlib import import_module

from django.db.backends.base.base import BaseDatabaseWrapper
from django.db.migrations.executor import MigrationExecutor

from djqueue.store.routines import ROUTINES

from .finding import Finding, listed

MISSING_FUNCTIONS = "SELECT given FROM unnest(%s::text[]) AS given WHERE to_regprocedure(given) IS NULL"

RELOPTIONS = "SELECT relname, coalesce(reloptions, '{}') FROM pg_class WHERE oid = ANY (%s::regclass[])"

# The migration owns these facts; its name is no identifier.
made = import_module("djqueue.migrations.0002_functions")


def migrations(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """Every migration of djqueue is applied, and none that this release does not know."""
    executor = MigrationExecutor(connection)
    known = {name for app, name in executor.loader.graph.nodes if app == "djqueue"}
    applied = {name for app, name in executor.loader.applied_migrations if app == "djqueue"}
    if missing := sorted(known - applied):
        yield Finding.error(
            "migrations",
            f"Not applied: {listed(missing)}.",
            f"Run manage.py migrate djqueue --database {connection.alias}.",
        )
    elif unknown := sorted(applied - known - _replaced(executor)):
        yield Finding.warning(
            "migrations",
            f"The database has migrations of another release: {listed(unknown)}.",
            "Upgrade here, if the newer release runs elsewhere; otherwise migrate back with that release.",
        )
    else:
        yield Finding.ok("migrations", f"All {len(known)} are applied.")


def _replaced(executor: MigrationExecutor) -> set[str]:
    return {name for migration in executor.loader.replacements.values() for _app, name in migration.replaces}


def functions(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """The functions that carry the hot statements exist."""
    wanted = sorted(routine.signature for routine in ROUTINES)
    with connection.cursor() as cursor:
        cursor.execute(MISSING_FUNCTIONS, (wanted,))
        missing = [row[0] for row in cursor.fetchall()]
    if missing:
        yield Finding.error(
            "functions",
            f"Missing in the database: {listed(missing)}.",
            "Dropped, restored without functions, or not in the search_path? "
            "`manage.py sqlmigrate djqueue 0002` prints the statements that create them.",
        )
    else:
        yield Finding.ok("functions", f"All {len(wanted)} exist.")


def storage_parameters(connection: BaseDatabaseWrapper) -> Iterator[Finding]:
    """The narrow tables are vacuumed as often as a queue needs."""
    wanted = [f"{name}={value}" for name, value in made.PARAMETERS.items()]
    with connection.cursor() as cursor:
        cursor.execute(RELOPTIONS, (list(made.NARROW),))
        rows = cursor.fetchall()
    differing = [(table, [p for p in wanted if p not in options]) for table, options in sorted(rows)]
    changed = [(table, missing) for table, missing in differing if missing]
    for table, missing in changed:
        yield Finding.warning(
            "storage-parameters",
            f"{table} is not set up with {', '.join(missing)}.",
            f"ALTER TABLE {table} SET ({', '.join(missing)}), unless this was changed on purpose.",
        )
    if not changed:
        yield Finding.ok("storage-parameters", f"As migrated on {len(rows)} narrow tables.")
