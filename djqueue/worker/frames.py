"""Frames: how the worker and its executors talk, a length and a marshalled tuple.

``marshal`` is the fastest codec of the standard library and safe here: both ends are forks of one process, and an
executor, which runs the user's code with the user's rights, has nothing to gain from lying to its worker.
"""

from __future__ import annotations

import marshal
import socket
from collections.abc import Iterator
from typing import Any

LENGTH = 4

RUN = 1
"""To an executor: run these claims, in order; the first item is the id of the worker that holds them."""
RECALL = 2
"""To an executor: send what has ended, and give back what has not started."""
STOP = 3
"""To an executor: end once everything is done."""
DONE = 4
"""To the worker: these attempts ended."""
RETURNED = 5
"""To the worker: these will not be started here."""
PROGRESS = 6
"""To the worker: these running attempts show a state of their own."""
READY = 7
"""To the worker: here is an executor, waiting for tasks."""
INTERRUPT = 8
"""To an executor: interrupt everything that runs."""
LIMIT = 9
"""To an executor: the soft time limits of the tasks with these serial numbers have passed."""
ABORT = 10
"""To an executor: these tasks are not wanted any more."""
RUN_BATCH = 11
"""To an executor: run these claims in one call; the first item is as for ``RUN``, the second their serial number."""


def pack(kind: int, items: list[Any] | None = None) -> bytes:
    """Return one message as bytes."""
    body = marshal.dumps((kind, items))
    return len(body).to_bytes(LENGTH, "big") + body


class Unpacker:
    """Turns a stream of bytes back into messages."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[tuple[int, list[Any]]]:
        """Add received bytes and yield the messages that are complete."""
        self._buffer += data
        start = 0
        while len(self._buffer) - start >= LENGTH:
            end = start + LENGTH + int.from_bytes(self._buffer[start : start + LENGTH], "big")
            if len(self._buffer) < end:
                break
            yield marshal.loads(self._buffer[start + LENGTH : end])  # noqa: S302 - see above
            start = end
        del self._buffer[:start]


def receive(connection: socket.socket) -> Iterator[tuple[int, list[Any]]]:
    """Yield messages from a blocking socket until the other end closes it."""
    unpacker = Unpacker()
    while data := connection.recv(262144):
        yield from unpacker.feed(data)
