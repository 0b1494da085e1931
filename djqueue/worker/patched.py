"""Executors of the pool ``gevent``: interpreters of their own, patched before anything else is imported.

They cannot be forked from the fork server, which has the site loaded: what is imported keeps the blocking functions
that it has taken hold of. The price is that each takes as long to start as the site does.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import sys
from typing import Any

from .options import ExecutorOptions
from .progress import ProgressPage

# The path comes first: what is imported must be the same as in the worker.
CODE = """
import json, sys
given = json.loads(sys.argv[1])
sys.path[:] = given["path"]
from gevent import monkey
monkey.patch_all()
from djqueue.worker.patched import main
main(given)
"""


def become_executor(connection: socket.socket, page: ProgressPage, position: int, options: ExecutorOptions) -> None:
    """Replace this process, which was forked for the purpose, by an executor."""
    given = {
        "path": [os.path.abspath(entry) for entry in sys.path],
        "connection": connection.fileno(),
        "page": [page.executors, page.slots, page.descriptor],
        "position": position,
        "options": options,
    }
    for descriptor in (connection.fileno(), page.descriptor):
        os.set_inheritable(descriptor, True)
    # Until the new program has handlers of its own, what a terminal sends to the whole group must not end it.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)
    os.execv(sys.executable, [sys.executable, "-c", CODE, json.dumps(given)])  # noqa: S606 - no shell is wanted


def main(given: dict[str, Any]) -> None:
    """Be an executor in a process that is patched."""
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _do_nothing)
    import django

    from djqueue import registry

    from .engines import serve
    from .executor import Executor, exit_now

    connection = socket.socket(fileno=given["connection"])
    # Of a coroutine's loop and of the greenlet that serves it the ORM, Django only sees that they share a thread. The
    # connections are those of greenlets, so what it fears cannot happen.
    os.environ.setdefault("DJANGO_ALLOW_ASYNC_UNSAFE", "true")
    for descriptor in (given["connection"], given["page"][2]):
        os.set_inheritable(descriptor, False)
    django.setup()
    registry.load_all()
    status = 1
    try:
        serve(Executor(connection, ProgressPage(*given["page"]), given["position"], ExecutorOptions(*given["options"])))
        status = 0
    finally:
        exit_now(status)


def _do_nothing(signum: int, frame: Any) -> None:
    """Only the worker decides what follows; programs that a task starts do not inherit this."""
