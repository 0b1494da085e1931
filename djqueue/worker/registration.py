"""What a worker says of itself when it registers and in its log."""

from __future__ import annotations

import os
import platform
import socket

import django
from django.db import connections

import djqueue
from djqueue.conf import settings
from djqueue.store.workers import WorkerRow

from .options import WorkerOptions


def row_of(options: WorkerOptions) -> WorkerRow:
    """Return the row of a worker with these options that runs in this process."""
    return WorkerRow(
        options.name,
        socket.gethostname(),
        os.getpid(),
        str(options.queues),
        options.pool,
        options.concurrency,
        f"djqueue {djqueue.__version__}, Django {django.get_version()}, Python {platform.python_version()}",
        settings.LEASE,
        options.processes,
    )


def describe_database(alias: str) -> str:
    """Return where a database is, without its password."""
    given = connections[alias].settings_dict
    place = given.get("HOST") or "local socket"
    return f"{given.get('NAME')} at {place}" + (f":{given['PORT']}" if given.get("PORT") else "")
