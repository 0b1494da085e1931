"""Bindings: what exchanges lead to, read for producers."""

from __future__ import annotations

from django.db.backends.base.base import BaseDatabaseWrapper

from djqueue.routing.topics import Bound

# Both tables whole, once. On tables that were analysed while empty, a join read all bindings again for each exchange.
READ = """
SELECT name, kind, NULL AS routing_key, NULL AS queue FROM djqueue_exchange
UNION ALL
SELECT exchange_id, NULL, routing_key, queue FROM djqueue_binding
"""

Exchanges = dict[str, tuple[str, list[Bound]]]


def read_exchanges(connection: BaseDatabaseWrapper) -> Exchanges:
    """Return the kind and the bindings of every exchange, by its name."""
    with connection.cursor() as cursor:
        cursor.execute(READ)
        rows = cursor.fetchall()
    found: Exchanges = {name: (kind, []) for name, kind, _, queue in rows if queue is None}
    for name, _, key, queue in rows:
        if queue is not None:
            found[name][1].append(Bound(key, queue))
    return found
