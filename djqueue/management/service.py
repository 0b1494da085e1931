"""What ``runworker`` and ``runbeat`` share: help that teaches, and a look at the database before they start."""

from __future__ import annotations

import argparse
from typing import Any

from django.core.management.base import BaseCommand, CommandError
from django.db import Error, connections

from djqueue import conf
from djqueue.store.claim import CLAIM

MIGRATED = """
SELECT to_regclass('djqueue_schedulerun') IS NOT NULL AND EXISTS (SELECT FROM pg_proc WHERE proname = %s)
"""


class ServiceCommand(BaseCommand):
    """A command that runs until it is stopped. ``epilog`` ends its ``--help``, set as it is written."""

    requires_migrations_checks = False
    epilog = ""

    def create_parser(self, prog_name: str, subcommand: str, **kwargs: Any) -> Any:
        kwargs.setdefault("epilog", self.epilog)
        parser = super().create_parser(prog_name, subcommand, **kwargs)
        parser.formatter_class = argparse.RawDescriptionHelpFormatter
        return parser

    def check_database(self) -> None:
        """Raise ``CommandError`` unless the queue's database is PostgreSQL, answers, and is migrated."""
        alias = conf.settings.DATABASE
        connection = connections[alias]
        if connection.vendor != "postgresql":
            raise CommandError(
                f"expected the database {alias!r} to be PostgreSQL, got: {connection.vendor}. "
                "Run `manage.py check` for what to do (djqueue.E001)."
            )
        try:
            with connection.cursor() as cursor:
                cursor.execute(MIGRATED, (CLAIM.name,))
                migrated = cursor.fetchone()[0]
        except Error as error:
            raise CommandError(f"the database {alias!r} does not answer: {error}") from error
        finally:
            connection.close()
        if not migrated:
            raise CommandError(
                f"the database {alias!r} lacks djqueue's tables or functions; run `manage.py migrate` first"
            )
