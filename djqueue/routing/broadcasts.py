"""Broadcasts: the lines in which each worker finds its own copy of what was sent to all."""

from __future__ import annotations

from collections.abc import Collection


def line_for(queue: str, worker_id: int) -> str:
    """Return the name of the line in which a worker finds its copies of what is sent to a broadcast queue."""
    return f"{queue}@{worker_id}"


def split(line: str, broadcasts: Collection[str]) -> tuple[str, int | None]:
    """Return the queue that a line belongs to, and the id of the worker it is for, if it is for one."""
    queue, at, worker_id = line.rpartition("@")
    if at and queue in broadcasts and worker_id.isdecimal():
        return queue, int(worker_id)
    return line, None
