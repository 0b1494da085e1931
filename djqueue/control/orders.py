"""Orders: what changes running workers. Each is for the workers that live now, and is forgotten when they end."""

from __future__ import annotations

from typing import Any

from .asking import TIMEOUT, Destination, ReplyList, broadcast


def ping(destination: Destination = None, timeout: float = TIMEOUT, limit: int | None = None) -> ReplyList:
    """Ask who lives; return ``[{name: {"ok": "pong"}}, …]``."""
    replies = broadcast("ping", destination=destination, reply=True, timeout=timeout, limit=limit)
    assert replies is not None
    return replies


def shutdown(destination: Destination = None, **options: Any) -> ReplyList | None:
    """Tell workers to drain and end, as the first SIGTERM does.

    ``options`` here and below are ``reply``, ``timeout`` and ``limit``, as ``broadcast`` takes them.
    """
    return broadcast("shutdown", destination=destination, **options)


def quiet(on: bool = True, destination: Destination = None, **options: Any) -> ReplyList | None:
    """Tell workers to claim nothing more and stay, or with ``on=False`` to go on. What they have claimed they run."""
    return broadcast("quiet", {"on": on}, destination=destination, **options)


def add_consumer(queue: str, destination: Destination = None, **options: Any) -> ReplyList | None:
    """Tell workers to serve a queue too, after the others; ``*`` and ``?`` are wildcards."""
    return broadcast("add_consumer", {"queue": queue}, destination=destination, **options)


def cancel_consumer(queue: str, destination: Destination = None, **options: Any) -> ReplyList | None:
    """Tell workers to claim no more from a queue. What they have claimed they run."""
    return broadcast("cancel_consumer", {"queue": queue}, destination=destination, **options)


def pool_grow(n: int = 1, destination: Destination = None, **options: Any) -> ReplyList | None:
    """Tell workers to start ``n`` more executors."""
    return broadcast("pool_grow", {"n": n}, destination=destination, **options)


def pool_shrink(n: int = 1, destination: Destination = None, **options: Any) -> ReplyList | None:
    """Tell workers to do with ``n`` executors less. Those finish what they run, however long it takes."""
    return broadcast("pool_shrink", {"n": n}, destination=destination, **options)


def autoscale(max: int, min: int = 1, destination: Destination = None, **options: Any) -> ReplyList | None:
    """Tell workers to keep between ``min`` and ``max`` executors, as ``--autoscale`` does; ``max=0`` ends that."""
    return broadcast("autoscale", {"max": max, "min": min}, destination=destination, **options)


def time_limit(
    task_name: str,
    hard: float | None = None,
    soft: float | None = None,
    destination: Destination = None,
    **options: Any,
) -> ReplyList | None:
    """Tell workers to use other time limits, in seconds, for a task's attempts that begin from now on.

    A call's own limits still win. Without ``hard`` and ``soft`` the definition's hold again.
    """
    arguments = {"task_name": task_name, "hard": hard, "soft": soft}
    return broadcast("time_limit", arguments, destination=destination, **options)
