"""The site under test: a private, migrated PostgreSQL in a temporary directory, gone with this process."""

from __future__ import annotations

import atexit
import json
import os
import shutil
import signal
import sys
import tempfile
from pathlib import Path
from types import FrameType
from typing import Any, NamedTuple

import django
import psycopg

from demo_project.devdb import embedded_database

DATABASE_VARIABLE = "DJQUEUE_BENCHMARK_DATABASE"
"""The environment variable that hands an entry of ``DATABASES`` to ``benchmarks.settings``, as JSON."""
STOPPING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
# As for the peers: no checkpoint in the middle of a run. It makes no commit less durable.
SERVER_SETTINGS = {"max_wal_size": "8GB"}
DURABILITY = ("fsync", "synchronous_commit", "full_page_writes")
RECORDED = (*DURABILITY, "wal_sync_method", "shared_buffers", "max_wal_size")


class Site(NamedTuple):
    """A running server and the directory that holds its data, its log and the workers' logs."""

    directory: Path
    database: dict[str, Any]

    @property
    def server_log(self) -> Path:
        return self.directory / "data" / "log"

    @property
    def server_pid(self) -> int:
        return int((self.directory / "data" / "postmaster.pid").read_text().split()[0])

    def connect(self, **options: Any) -> psycopg.Connection:
        """Return a connection in autocommit that Django knows nothing of."""
        given = self.database
        return psycopg.connect(
            host=given["HOST"],
            port=given["PORT"],
            user=given["USER"],
            dbname=given["NAME"],
            **{"autocommit": True, "application_name": "benchmark", **options},
        )

    def configure(self, connection: psycopg.Connection, settings: dict[str, str]) -> None:
        """Change settings of the private server that need no restart."""
        for name, value in settings.items():
            connection.execute(f"ALTER SYSTEM SET {name} = '{value}'")
        connection.execute("SELECT pg_reload_conf()")


def open_site(kept: Path | None = None) -> Site:
    """Start a server, set Django up on it and migrate. It is stopped and deleted when this process ends.

    ``kept`` is a directory for its data that is not deleted, and used as it is if it is there.
    """
    leave_by_exit()
    if kept is None:
        directory = Path(tempfile.mkdtemp(prefix="djqueue-benchmark-"))
        # Exit handlers run last in, first out: this one after those with which the server is stopped.
        atexit.register(shutil.rmtree, directory, ignore_errors=True)
    else:
        directory = kept.resolve()
        directory.mkdir(parents=True, exist_ok=True)
    site = Site(directory, embedded_database(directory / "data"))
    os.environ[DATABASE_VARIABLE] = json.dumps(site.database)
    os.environ["DJANGO_SETTINGS_MODULE"] = "benchmarks.settings"
    with site.connect() as connection:
        site.configure(connection, SERVER_SETTINGS)
    django.setup()
    from django.core.management import call_command

    call_command("migrate", verbosity=0, interactive=False)
    return site


def leave_by_exit() -> None:
    """Make a signal end this process by ``SystemExit``, so that what it started is stopped."""

    def leave(signum: int, frame: FrameType | None) -> None:
        for number in STOPPING:
            signal.signal(number, signal.SIG_IGN)
        sys.exit(128 + signum)

    for number in STOPPING:
        signal.signal(number, leave)


def durability(site: Site) -> dict[str, str]:
    """Return what the server says of its durability; ends the run if a commit could get lost."""
    with site.connect() as connection:
        found = {name: connection.execute(f"SHOW {name}").fetchone()[0] for name in RECORDED}
    if off := [name for name in DURABILITY if found[name] != "on"]:
        raise SystemExit(f"expected {off[0]} to be on, got: {found[off[0]]}. Such figures mean nothing.")
    return found
