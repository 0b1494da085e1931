"""Asking workers that tests have started, with the patience that a busy machine needs."""

from __future__ import annotations

from typing import Any

from djqueue import control
from djqueue.control import Replies

from .worker_process import WorkerProcess, Workers

PATIENT = 20.0
"""Seconds to wait for a reply where it is not the question how fast it comes."""
IMPORTS = ["tests.site.tasks", "tests.site.worker_tasks", "tests.site.control_tasks"]


def run(workers: Workers, *options: str, **settings: Any) -> WorkerProcess:
    return workers.run(*options, IMPORTS=IMPORTS, **settings)


def only(replies: Replies) -> Any:
    """Return the one reply."""
    assert (replies.silent, replies.gone) == ((), ())
    ((_, value),) = replies.items()
    return value


def ask(command: str, **arguments: Any) -> Any:
    """Return what the one live worker answers to a question."""
    return only(control.inspect(timeout=PATIENT).request(command, **arguments))


def tell(command: str, **arguments: Any) -> Any:
    """Return what the one live worker answers to an order."""
    replies = control.broadcast(command, arguments, reply=True, timeout=PATIENT)
    ((reply,),) = (answer.values() for answer in replies or ())
    return reply
