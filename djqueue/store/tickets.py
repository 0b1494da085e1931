"""Tickets: the places of tasks in ordered streams, drawn when they are enqueued."""

from __future__ import annotations

from collections.abc import Iterable

from django.db.backends.utils import CursorWrapper

from djqueue.records import NewTask

INSERT_TICKETS = """
INSERT INTO djqueue_streamticket (gate, task_id)
SELECT gate, id FROM unnest(%s::text[], %s::uuid[]) WITH ORDINALITY AS given (gate, id, place) ORDER BY place
"""


def draw_tickets(cursor: CursorWrapper, tasks: Iterable[NewTask]) -> None:
    """Give those tasks that belong to ordered streams their places, in the transaction in which they are inserted."""
    if tickets := [(task.stream, task.id) for task in tasks if task.stream is not None]:
        gates, ids = zip(*tickets, strict=True)
        cursor.execute(INSERT_TICKETS, (list(gates), list(ids)))
