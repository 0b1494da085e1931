"""Asking: send a command to workers, and wait for their replies."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from fnmatch import fnmatchcase
from functools import partial
from typing import Any

from django.db import InterfaceError, OperationalError, connections, transaction
from django.db.backends.base.base import BaseDatabaseWrapper

from djqueue.conf import settings
from djqueue.exceptions import WorkerNotFound
from djqueue.serializers import decode, encode
from djqueue.store import commands as store
from djqueue.store.commands import KnownWorker, Reply
from djqueue.store.wakeup import call_for_command

from .catalogue import find

TIMEOUT = 1.0
"""Seconds to wait for replies, as Celery waits."""
LIFETIME = 300.0
"""Seconds after which an order is not obeyed any more to which nobody awaits a reply."""
FIRST_LOOK = 0.005
LONGEST_PAUSE = 0.05

Destination = str | Sequence[str] | None


class Replies(dict[str, Any]):
    """Replies by worker's name, as in Celery; one that could not do it says ``{"error": "…"}``.

    ``silent`` are the names of those that live and have not answered in time, ``gone`` of those that ended before.
    """

    silent: Sequence[str] = ()
    gone: Sequence[str] = ()


class ReplyList(list[dict[str, Any]]):
    """The replies as ``[{name: reply}, …]``, which is what Celery's ``control`` returns; otherwise as ``Replies``."""

    silent: Sequence[str] = ()
    gone: Sequence[str] = ()


def broadcast(
    command: str,
    arguments: Mapping[str, Any] | None = None,
    *,
    destination: Destination = None,
    reply: bool = False,
    timeout: float = TIMEOUT,
    limit: int | None = None,
) -> ReplyList | None:
    """Send a command to live workers: all, or those of ``destination`` (names, ``*`` and ``?`` are wildcards).

    With ``reply`` it waits ``timeout`` seconds at the most, or until ``limit`` of them have answered, and returns the
    replies; a worker that has not taken the command by then does not obey it any more. Without, it returns at once,
    the command is part of a transaction that is open, and is obeyed within ``LIFETIME`` seconds or not at all.

    Raises ``WorkerNotFound`` for a name that no live worker has, and ``ValueError`` for arguments that a command known
    here does not take.
    """
    bound = checked(command, arguments or {})
    if not reply:
        _order(command, bound, destination)
        return None
    replies = ask(command, bound, destination=destination, timeout=timeout, limit=limit)
    listed = ReplyList({name: value} for name, value in replies.items())
    listed.silent, listed.gone = replies.silent, replies.gone
    return listed


def checked(name: str, arguments: Mapping[str, Any]) -> dict[str, Any]:
    """Return the arguments of a command. One that is not known here is left to the workers."""
    try:
        command = find(name)
    except LookupError:
        return dict(arguments)
    return command.bind(arguments)


def _order(name: str, arguments: Mapping[str, Any], destination: Destination) -> None:
    connection = connections[settings.DATABASE]
    with connection.cursor() as cursor:
        if workers := addressed(store.known_workers(cursor), destination):
            store.ask(cursor, name, encode(arguments), LIFETIME, workers)
    if connection.in_atomic_block or connection.get_autocommit():
        # Who commits by hand does so at a moment we cannot know; workers look at each heartbeat.
        transaction.on_commit(partial(call_for_command, connection), using=connection.alias, robust=True)


def ask(
    name: str,
    arguments: Mapping[str, Any],
    *,
    destination: Destination = None,
    timeout: float = TIMEOUT,
    limit: int | None = None,
) -> Replies:
    """Send a command and return what came back within ``timeout`` seconds. Raises as ``broadcast``.

    In a transaction it takes a connection of its own, because workers must see the command at once.
    """
    if timeout <= 0:
        raise ValueError(f"expected timeout to be a number of seconds above 0, got: {timeout!r}")
    if limit is not None and limit < 1:
        raise ValueError(f"expected limit to be 1 or more replies, got: {limit!r}")
    text = encode(arguments)
    with _outside_transactions() as connection:
        with connection.cursor() as cursor:
            workers = addressed(store.known_workers(cursor), destination)
            if not workers:
                return Replies()
            command_id = store.ask(cursor, name, text, timeout, workers)
        call_for_command(connection)
        return _named(_await(connection, command_id, timeout, limit))


def ask_one(worker_id: int, name: str, arguments: Mapping[str, Any], timeout: float = TIMEOUT) -> dict[str, Any] | None:
    """Send a command to the worker with this id; return its answer, None if there was none in ``timeout`` seconds.

    Raises ``WorkerNotFound`` if it does not live, and as ``broadcast``.
    """
    bound = checked(name, arguments)
    with _outside_transactions() as connection:
        with connection.cursor() as cursor:
            workers = [one for one in store.known_workers(cursor) if one.id == worker_id and one.overdue < 0]
            if not workers:
                raise WorkerNotFound(f"no live worker has the id {worker_id}")
            command_id = store.ask(cursor, name, encode(bound), timeout, workers)
        call_for_command(connection)
        return next(iter(_named(_await(connection, command_id, timeout, None)).values()), None)


@contextmanager
def _outside_transactions() -> Iterator[BaseDatabaseWrapper]:
    usual = connections[settings.DATABASE]
    if usual.get_autocommit() and not usual.in_atomic_block:
        yield usual
        return
    own = usual.copy()
    try:
        yield own
    finally:
        own.close()


def addressed(known: Sequence[KnownWorker], destination: Destination) -> list[KnownWorker]:
    """Return the live workers that are meant. Raises ``WorkerNotFound`` for a name or pattern that none has."""
    alive = [worker for worker in known if worker.overdue < 0]
    if destination is None:
        return alive
    names = [destination] if isinstance(destination, str) else list(destination)
    if not names or not all(isinstance(name, str) and name for name in names):
        raise ValueError(f"expected destination to be names of workers, got: {destination!r}")
    for name in names:
        if not any(fnmatchcase(worker.name, name) for worker in alive):
            raise WorkerNotFound(_nobody(name, known, alive))
    return [worker for worker in alive if any(fnmatchcase(worker.name, name) for name in names)]


def _nobody(name: str, known: Sequence[KnownWorker], alive: Sequence[KnownWorker]) -> str:
    others = f"Alive are: {', '.join(worker.name for worker in alive)}." if alive else "No worker is alive."
    for worker in known:
        if fnmatchcase(worker.name, name):
            return f"worker {worker.name} is gone: its lease ran out {worker.overdue:.0f} s ago. {others}"
    return f"no live worker is called {name!r}. {others}"


def _await(connection: BaseDatabaseWrapper, command_id: int, timeout: float, limit: int | None) -> list[Reply]:
    deadline = time.monotonic() + timeout
    pause = FIRST_LOOK
    while True:
        late = time.monotonic() >= deadline
        try:
            with connection.cursor() as cursor:
                replies = store.read_replies(cursor, command_id)
        except (OperationalError, InterfaceError):
            # The server restarts, perhaps: the command is stored, and so will the replies be.
            connection.close()
            if late:
                raise
        else:
            answered = sum(reply.answered for reply in replies)
            waiting = any(reply.alive and not reply.answered for reply in replies)
            if late or not waiting or (limit is not None and answered >= limit):
                return replies
        time.sleep(pause)
        pause = min(LONGEST_PAUSE, pause * 1.5)


def _named(replies: Sequence[Reply]) -> Replies:
    named = Replies()
    for reply in replies:
        if reply.answered:
            # Two workers may have been given one name.
            name = reply.worker if reply.worker not in named else f"{reply.worker}#{reply.worker_id}"
            named[name] = {"error": reply.error} if reply.error is not None else decode(reply.value or "null")
    named.silent = tuple(reply.worker for reply in replies if not reply.answered and reply.alive)
    named.gone = tuple(reply.worker for reply in replies if not reply.answered and not reply.alive)
    return named
