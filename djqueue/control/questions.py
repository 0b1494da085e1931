"""Questions: ``inspect()``, whose methods ask every worker and return the answers by worker's name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from django.db import connections

from djqueue.conf import settings
from djqueue.exceptions import TaskError
from djqueue.redaction import redact_arguments
from djqueue.serializers import decode_arguments
from djqueue.store.looks import Arguments, read_arguments

from .asking import TIMEOUT, Destination, Replies, ask, checked

OF_TASKS = ("active", "reserved")
"""Questions that are answered with lists of tasks."""


class Inspect:
    """Asks workers. Each method returns a dict of answers by worker's name, empty if no worker lives."""

    def __init__(self, destination: Destination = None, timeout: float = TIMEOUT, limit: int | None = None) -> None:
        self.destination = destination
        self.timeout = timeout
        self.limit = limit

    def request(self, command: str, **arguments: Any) -> Replies:
        """Ask anything, also a command of the site's.

        Raises ``WorkerNotFound`` for a destination that does not live and ``ValueError`` for arguments that the command
        does not take.
        """
        return ask(
            command,
            checked(command, arguments),
            destination=self.destination,
            timeout=self.timeout,
            limit=self.limit,
        )

    def ping(self) -> Replies:
        """Return ``{"ok": "pong"}`` of each that lives."""
        return self.request("ping")

    def active(self) -> Replies:
        """Return the tasks that run now, as lists of dicts; arguments are redacted by ``DJQUEUE["REDACT"]``."""
        return with_arguments(self.request("active"))

    def reserved(self) -> Replies:
        """Return the tasks that are claimed and have not begun."""
        return with_arguments(self.request("reserved"))

    def scheduled(self, limit: int = 100) -> Replies:
        """Return tasks that are not due yet, the first ``limit`` in the queues that a worker serves.

        They belong to no worker: two that serve the same queues give the same answer.
        """
        return self.request("scheduled", limit=limit)

    def registered(self, *attributes: str) -> Replies:
        """Return the names of the tasks that are known, with these attributes of their definitions."""
        return self.request("registered", attributes=list(attributes))

    def stats(self) -> Replies:
        """Return what each worker says of itself: pool, counts, memory, time."""
        return self.request("stats")

    def conf(self, with_defaults: bool = False) -> Replies:
        """Return the settings in ``DJQUEUE`` that differ from the defaults, or all; secrets are hidden."""
        return self.request("conf", with_defaults=with_defaults)

    def query_task(self, *ids: str | Sequence[str]) -> Replies:
        """Return ``{id: [state, task]}`` of those tasks that each holds; the state is active or reserved."""
        flat = [one for given in ids for one in ([given] if isinstance(given, str) else given)]
        return self.request("query_task", ids=[str(one) for one in flat])

    def revoked(self, limit: int = 1000) -> Replies:
        """Return the ids of cancellations that wait for their task; every worker knows all of them."""
        return self.request("revoked", limit=limit)

    def active_queues(self) -> Replies:
        """Return the queues that each serves, and which of them are paused."""
        return self.request("active_queues")

    def report(self) -> Replies:
        """Return the versions and settings as text, for a report of a fault."""
        return self.request("report")

    def clock(self) -> Replies:
        """Return ``{"clock": epoch}``: the seconds by the database's clock, which every worker goes by."""
        return self.request("clock")


def inspect(destination: Destination = None, timeout: float = TIMEOUT, limit: int | None = None) -> Inspect:
    """Return an ``Inspect`` for all live workers, or those of ``destination`` (names, with wildcards).

    Its methods wait ``timeout`` seconds at the most, or until ``limit`` workers have answered.
    """
    return Inspect(destination, timeout, limit)


def with_arguments(replies: Replies) -> Replies:
    """Add to the tasks in replies what they were called with. A worker has no definitions to redact it by."""
    tasks = [task for reply in replies.values() if isinstance(reply, list) for task in reply]
    if tasks:
        with connections[settings.DATABASE].cursor() as cursor:
            known = read_arguments(cursor, [task["id"] for task in tasks])
        for task in tasks:
            task["args"], task["kwargs"] = _shown(known.get(task["id"]))
    return replies


def _shown(arguments: Arguments | None) -> tuple[Sequence[Any], dict[str, Any]]:
    if arguments is None:
        return [], {}  # it has ended meanwhile, and nothing of it is kept
    try:
        args, kwargs = decode_arguments(arguments.args, arguments.kwargs, arguments.name)
    except (TaskError, ValueError) as error:
        return [f"[not shown: {type(error).__name__}]"], {}
    shown_args, shown_kwargs = redact_arguments(arguments.name, args, kwargs)
    return list(shown_args), dict(shown_kwargs)
