"""Migrations that touch the database only where it is PostgreSQL.

A site whose tests run on another vendor (with tasks run eagerly) migrates without an error; system check djqueue.E001
says that nothing can be enqueued there.
"""

from typing import Any

from django.db import migrations
from django.db.backends.base.schema import BaseDatabaseSchemaEditor
from django.db.migrations.state import ProjectState


class PostgreSQLMigration(migrations.Migration):
    def apply(
        self, project_state: ProjectState, schema_editor: BaseDatabaseSchemaEditor, collect_sql: bool = False
    ) -> ProjectState:
        if schema_editor.connection.vendor == "postgresql":
            return super().apply(project_state, schema_editor, collect_sql)
        return self.mutate_state(project_state, preserve=False)

    def unapply(self, project_state: Any, schema_editor: Any, collect_sql: bool = False) -> Any:
        if schema_editor.connection.vendor == "postgresql":
            return super().unapply(project_state, schema_editor, collect_sql)
        return project_state
