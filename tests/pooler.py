"""PgBouncer in transaction mode, in front of the server of the test database."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import psycopg
from django.db import connection

from .worker_process import database_settings, eventually

# Debian installs it where only root looks.
PGBOUNCER = shutil.which("pgbouncer", path=f"{os.environ.get('PATH', os.defpath)}{os.pathsep}/usr/sbin")

SETTINGS = """
[databases]
* = host={host} port={port} user={user}{password}
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = {own_port}
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 5
max_client_conn = 200
ignore_startup_parameters = extra_float_digits,options
server_idle_timeout = 1
"""


@contextmanager
def pooled_database() -> Iterator[dict[str, Any]]:
    """Start a pooler and provide the ``DATABASES`` entry that leads through it."""
    direct = database_settings()
    with socket.create_server(("127.0.0.1", 0)) as free:
        own_port = free.getsockname()[1]
    directory = Path(tempfile.mkdtemp(prefix="djqueue-pgbouncer-"))
    settings = directory / "pgbouncer.ini"
    password = f" password={direct['PASSWORD']}" if direct.get("PASSWORD") else ""
    settings.write_text(
        SETTINGS.format(
            host=direct["HOST"], port=direct["PORT"] or 5432, user=direct["USER"], password=password, own_port=own_port
        )
    )
    # It refuses to run as root, and only the server's own user may see the socket of an embedded one.
    user = None
    if os.geteuid() == 0:
        user = os.stat(direct["HOST"]).st_uid if direct["HOST"].startswith("/") else "postgres"
    directory.chmod(0o755)
    log = (directory / "log").open("wb")
    process = subprocess.Popen([str(PGBOUNCER), str(settings)], user=user, stdout=log, stderr=log)
    pooled = {**direct, "HOST": "127.0.0.1", "PORT": str(own_port)}
    try:
        eventually(lambda: _answers(pooled), what="the pooler")
        yield pooled
    finally:
        process.terminate()
        process.wait(10)
        eventually(_is_alone, what="the end of the pooler's sessions")
        log.close()
        shutil.rmtree(directory, ignore_errors=True)


def _is_alone() -> bool:
    with connection.cursor() as cursor:
        cursor.execute("SELECT count(*) FROM pg_stat_activity WHERE datname = current_database()")
        return bool(cursor.fetchone() == (1,))


def _answers(database: dict[str, Any]) -> bool:
    with suppress(psycopg.OperationalError):
        psycopg.connect(
            host=database["HOST"], port=database["PORT"], user=database["USER"], dbname=database["NAME"]
        ).close()
        return True
    return False
