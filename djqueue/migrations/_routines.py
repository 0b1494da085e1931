"""The operation that brings the store's routines into the database."""

from __future__ import annotations

from typing import Any

from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.operations.base import Operation
from django.db.migrations.state import ProjectState

from djqueue.store.routines import ROUTINES

# What older releases left too, since their names are no longer known.
LEFT = r"""
SELECT format('DROP %s %s', CASE prokind WHEN 'p' THEN 'PROCEDURE' ELSE 'FUNCTION' END, oid::regprocedure)
FROM pg_proc
WHERE proname LIKE 'djqueue\_%'
    AND pronamespace = (SELECT relnamespace FROM pg_class WHERE oid = 'djqueue_task'::regclass)
"""


class CreateRoutines(Operation):
    """Create the routines of this release that are missing.

    ``digest`` is that of ``djqueue.store.routines`` when the migration was written. It changes nothing here: a test
    compares the newest one with the code, so that a changed routine comes with a migration that deploys it. Older
    migrations create today's routines too, which is harmless, because their names tell them apart.
    """

    reduces_to_sql = True
    reversible = True

    def __init__(self, digest: str, drop_all_backwards: bool = False) -> None:
        self.digest = digest
        self.drop_all_backwards = drop_all_backwards

    def deconstruct(self) -> tuple[str, list[Any], dict[str, Any]]:
        return type(self).__name__, [self.digest], {"drop_all_backwards": self.drop_all_backwards}

    def state_forwards(self, app_label: str, state: ProjectState) -> None:
        """Routines are not part of the models' state."""

    def database_forwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        for routine in ROUTINES:
            schema_editor.execute(routine.create, params=None)

    def database_backwards(
        self, app_label: str, schema_editor: BaseDatabaseSchemaEditor, from_state: Any, to_state: Any
    ) -> None:
        if not self.drop_all_backwards:
            return  # an older release beside this one may still call them
        with schema_editor.connection.cursor() as cursor:
            cursor.execute(LEFT)
            drops = [row[0] for row in cursor.fetchall()]
        for drop in drops:
            schema_editor.execute(drop, params=None)

    def describe(self) -> str:
        return f"Create the routines of djqueue ({self.digest})"
