"""A PostgreSQL of the test's own, to be killed and restarted, as an alias of Django's connections."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psycopg
from django.core.management import call_command
from django.db import connections

from demo_project.embedded_server import PostgresServer

from .worker_process import eventually

ALIAS = "private"


class PrivateServer:
    """A server in a directory of its own, durable as they come, and a child of this process."""

    def __init__(self) -> None:
        # Not below pytest's directories: the path of a socket must be short, and as root open to another user.
        self._directory = Path(tempfile.mkdtemp(prefix="djqueue-pg-")).resolve()
        self._server = PostgresServer(self._directory, cleanup_mode=None)
        self._server.ensure_pgdata_inited()
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def database(self) -> dict[str, Any]:
        """The ``DATABASES`` entry."""
        return {
            "ENGINE": "django.db.backends.postgresql",
            "NAME": "postgres",
            "USER": "postgres",
            "HOST": str(self._directory),
            "PORT": "5432",
        }

    def start(self) -> None:
        """Start the server and wait until it answers, however its last life ended."""
        eventually(self._started, what="the private server")

    def _started(self) -> bool:
        if self._process is None or self._process.poll() is not None:
            # Backends of a killed server may still hold its shared memory; then this one ends, and is tried again.
            with Path(self._directory, "log").open("ab") as log:
                self._process = subprocess.Popen(
                    [Path(self._server.bin_path, "postgres"), "-D", self._directory, "-k", self._directory, "-h", ""],
                    stdout=log,
                    stderr=log,
                    stdin=subprocess.DEVNULL,
                    cwd=self._directory,
                    user=self._server.system_user,
                    start_new_session=True,
                    env={**os.environ, "LC_ALL": "C"},
                )
        try:
            psycopg.connect(host=str(self._directory), user="postgres", dbname="postgres").close()
        except psycopg.OperationalError:
            return False
        return True

    def stop(self, number: int) -> None:
        """Stop it by an OS signal: SIGKILL crashes it, SIGQUIT is an immediate stop, SIGINT a fast one."""
        assert self._process is not None
        self._process.send_signal(number)
        self._process.wait(30)

    def remove(self) -> None:
        if self._process is not None and self._process.poll() is None:
            self.stop(signal.SIGQUIT)
        shutil.rmtree(self._directory, ignore_errors=True)


@contextmanager
def private_database() -> Iterator[PrivateServer]:
    """Start a server and migrate its database, which the test knows by the alias ``private``."""
    server = PrivateServer()
    try:
        server.start()
        entry = connections.configure_settings({"default": {}, ALIAS: server.database})[ALIAS]
        connections.databases[ALIAS] = entry
        call_command("migrate", database=ALIAS, verbosity=0)
        yield server
    finally:
        connections[ALIAS].close()
        del connections[ALIAS], connections.databases[ALIAS]
        server.remove()
