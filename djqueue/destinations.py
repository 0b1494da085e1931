"""Destinations: which queue, or queues, a call goes to."""

from __future__ import annotations

from collections.abc import Mapping
from time import monotonic
from typing import TYPE_CHECKING, Any

from django.db import connections
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from . import registry
from .calls import UNIQUE
from .conf import settings
from .exceptions import Unroutable
from .routing import check_queue
from .routing.broadcasts import line_for
from .routing.selection import serves
from .routing.topics import bound_queues, check_routing_key
from .store.bindings import Exchanges, read_exchanges
from .store.broadcast import live_workers

if TYPE_CHECKING:
    from .definition import TaskDefinition

DESTINATION = ("queue", "exchange", "routing_key")
STALE = 5.0
"""Seconds for which a process may still follow bindings that another has changed meanwhile."""

_exchanges: dict[str, tuple[float, Exchanges]] = {}
_places: dict[str, tuple[str, int]] = {}
_places_by: list[Any] = [None]


def filled(given: Mapping[str, Any], lower: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``given`` with the options of a lower rank where it is silent.

    Queue, exchange and routing key are one answer to one question: who names a queue or an exchange has given it.
    """
    answered = given.get("queue") is not None or given.get("exchange") is not None
    merged = {name: value for name, value in lower.items() if not (answered and name in DESTINATION)}
    merged.update((name, value) for name, value in given.items() if value is not None)
    return merged


def defaults_of(definition: TaskDefinition) -> dict[str, Any]:
    """Return the options of calls that a definition states."""
    return {
        "queue": definition.queue,
        "exchange": definition.exchange,
        "routing_key": definition.routing_key,
        "priority": definition.priority if definition.states("priority") else None,
        "expires": definition.expires,
        "serializer": definition.serializer,
        **{option: getattr(definition, option) or None for option in UNIQUE},
    }


def routed(name: str, args: Any, kwargs: Any, options: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the options of a call, and those of its route for what neither it nor its definition says."""
    if not settings.ROUTES:
        return options
    definition = registry.find(name)
    route = settings.ROUTES.find(name, args, kwargs, options, definition)
    if definition is not None:
        route = {option: value for option, value in route.items() if not _is_stated(definition, option)}
    return filled(options, route)


def _is_stated(definition: TaskDefinition, option: str) -> bool:
    return option not in DESTINATION and definition.states(option)


def plain_place(definition: TaskDefinition) -> tuple[str, int] | None:
    """Return the queue and the priority of a definition's plain calls; None if more is to be asked for each."""
    if _places_by[0] is not settings.loaded():
        _places.clear()
        _places_by[0] = settings.loaded()
    if (place := _places.get(definition.name)) is None:
        place = _plain_place(definition)
        if place is not None and registry.find(definition.name) is definition:
            _places[definition.name] = place
    return place


def _plain_place(definition: TaskDefinition) -> tuple[str, int] | None:
    if not settings.ROUTES.by_name:
        return None
    options = routed(definition.name, (), {}, {k: v for k, v in defaults_of(definition).items() if v is not None})
    # Those that the definition states itself are known to whoever asks.
    own = {option for option in ("expires", "serializer") if options.get(option) == getattr(definition, option)}
    if not options.keys() <= {"queue", "priority"} | own:
        return None
    queue = options.get("queue") or settings.DEFAULT_QUEUE
    check_queue(queue)
    if queue in settings.BROADCAST_QUEUES:
        return None
    return queue, options.get("priority", 0)


def queues_of(options: Mapping[str, Any]) -> list[str]:
    """Return the queues that a call reaches, at least one.

    A routing key without an exchange names a queue, as with AMQP's default exchange. Raises ``Unroutable`` for an
    unknown exchange, or one without a binding that fits, and ``ValueError`` for what makes no sense.
    """
    queue, exchange, key = (options.get(name) for name in DESTINATION)
    if key is not None:
        check_routing_key(key)
    if exchange:
        if queue is not None:
            raise ValueError(f"expected queue or exchange, got both: {queue!r} and {exchange!r}")
        return _through(exchange, key or "")
    if queue is None:
        queue = key or settings.DEFAULT_QUEUE
    check_queue(queue)
    return [queue]


def _through(exchange: object, key: str) -> list[str]:
    if not isinstance(exchange, str):
        raise ValueError(f"expected exchange to be the name of an exchange, got: {exchange!r}")
    known = _known_exchanges()
    reached = bound_queues(*known[exchange], key) if exchange in known else []
    if not reached:  # perhaps it was bound just now
        known = _known_exchanges(anew=True)
        reached = bound_queues(*known[exchange], key) if exchange in known else []
    if not reached:
        if exchange not in known:
            names = ", ".join(sorted(known)) or "none"
            raise Unroutable(f"expected exchange to name one that exists ({names}), got: {exchange!r}")
        raise Unroutable(f"exchange {exchange!r} has no binding that takes the routing key {key!r}")
    return reached


def lines_of(queue: str) -> list[str]:
    """Return the lines that a task of a queue stands in: one, unless the queue is for broadcasts.

    A broadcast goes to every worker that is alive and serves the queue. If there is none, it waits in the queue itself
    for the first that comes.
    """
    if queue not in settings.BROADCAST_QUEUES:
        return [queue]
    workers = live_workers(connections[settings.DATABASE])
    return [line_for(queue, worker_id) for worker_id, served in workers if serves(served, queue)] or [queue]


def _known_exchanges(*, anew: bool = False) -> Exchanges:
    alias = settings.DATABASE
    read_at, known = _exchanges.get(alias, (0.0, {}))
    if anew or not known or monotonic() - read_at > STALE:
        read_at, known = monotonic(), read_exchanges(connections[alias])
        _exchanges[alias] = read_at, known
    return known


def forget_exchanges(**kwargs: Any) -> None:
    """Read them anew at the next call."""
    _exchanges.clear()


for _model in ("djqueue.Exchange", "djqueue.Binding"):
    receiver((post_save, post_delete), sender=_model)(forget_exchanges)
