"""The doctor: is everything as it must be, and what to do where it is not."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import psycopg
from django.core.exceptions import ImproperlyConfigured
from django.db import Error, connections
from django.db.backends.base.base import BaseDatabaseWrapper

from djqueue.conf import settings

from . import queue, schedules, schema, server
from .finding import Finding, Level
from .queue import check_invariants

__all__ = ["Finding", "Level", "check_invariants", "examine"]

Check = Callable[[BaseDatabaseWrapper], Iterator[Finding]]

# Where a check of one group finds an error, the next groups would only fail in its wake.
GROUPS: tuple[tuple[Check, ...], ...] = (
    (server.connects,),
    (server.version, server.encoding),
    (schema.migrations,),
    (
        schema.functions,
        schema.storage_parameters,
        server.vacuum,
        server.snapshots,
        server.prepared_transactions,
        server.notify,
        server.clock,
        queue.workers,
        schedules.schedules,
        queue.invariants,
    ),
)


def examine(using: str | None = None) -> list[Finding]:
    """Run every check on the database ``using`` (by default the one that holds the queue).

    Reads only. To be called outside a transaction: in one, the check of NOTIFY finds that nothing arrives.
    """
    found = list(server.system_checks())
    if any(finding.level == "error" for finding in found):
        return found
    connection = connections[using or settings.DATABASE]
    for group in GROUPS:
        here = [finding for check in group for finding in _guarded(check, connection)]
        found += here
        if any(finding.level == "error" for finding in here):
            break
    return found


def _guarded(check: Check, connection: BaseDatabaseWrapper) -> list[Finding]:
    try:
        return list(check(connection))
    except (Error, psycopg.Error, ImproperlyConfigured) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        return [
            Finding.error(
                check.__name__.replace("_", "-"),
                f"This could not be checked: {reason}",
                "Look up the error of PostgreSQL, or the rights of the database user.",
            )
        ]
