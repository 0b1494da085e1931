"""Bindings: what exchanges lead to, read for producers."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from djqueue.routing.topics import Bound

READ = """
SELECT exchange.name, exchange.kind, binding.routing_key, binding.queue
FROM djqueue_exchange AS exchange
LEFT JOIN djqueue_binding AS binding ON binding.exchange_id = exchange.name
"""

Exchanges = dict[str, tuple[str, list[Bound]]]


def read_exchanges(connection: BaseDatabaseWrapper) -> Exchanges:
    """Return the kind and the bindings of every exchange, by its name."""
    found: Exchanges = {}
    with connection.cursor() as cursor:
        cursor.execute(READ)
        for name, kind, key, queue in cursor.fetchall():
            _, bindings = found.setdefault(name, (kind, []))
            if queue is not None:
                bindings.append(Bound(key, queue))
    return found
