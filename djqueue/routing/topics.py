"""Topics: which routing keys a binding takes."""

from __future__ import annotations

from collections.abc import Iterable
from enum import StrEnum
from itertools import accumulate
from operator import or_
from typing import NamedTuple

LONGEST_KEY = 255


class ExchangeKind(StrEnum):
    """How an exchange chooses among its bindings, as in RabbitMQ."""

    DIRECT = "direct"
    """Those whose routing key is that of the call."""
    TOPIC = "topic"
    """Those whose pattern fits: ``*`` stands for one word, ``#`` for any number of them, words end with dots."""
    FANOUT = "fanout"
    """All of them."""


class Bound(NamedTuple):
    """One binding: what it takes, and the queue that it leads to."""

    routing_key: str
    queue: str


def check_routing_key(key: object) -> None:
    """Raise ``ValueError`` unless ``key`` can be the routing key of a call."""
    if not isinstance(key, str) or len(key) > LONGEST_KEY:
        raise ValueError(f"expected routing_key to be a string of up to {LONGEST_KEY} characters, got: {key!r}")


def check_binding_key(kind: str, key: str) -> None:
    """Raise ``ValueError`` unless ``key`` makes sense in a binding of an exchange of this kind."""
    check_routing_key(key)
    if kind == ExchangeKind.FANOUT and key:
        raise ValueError(f"expected no routing key, because a fanout exchange heeds none, got: {key!r}")
    if kind == ExchangeKind.TOPIC:
        for word in words_of(key):
            if len(word) > 1 and ("*" in word or "#" in word):
                raise ValueError(f"expected * and # to be whole words between dots, got: {word!r} in {key!r}")


def words_of(key: str) -> list[str]:
    """Return the words of a routing key; an empty one has none."""
    return key.split(".") if key else []


def topic_matches(pattern: str, key: str) -> bool:
    """Whether a topic's pattern takes a routing key, in time proportional to the product of their lengths.

    After each word of the pattern, ``reached`` holds which numbers of words of the key it can have taken.
    """
    words = words_of(key)
    reached = [True] + [False] * len(words)
    for part in words_of(pattern):
        if part == "#":
            reached = list(accumulate(reached, or_))
        else:
            reached = [False] + [was and part in ("*", word) for was, word in zip(reached, words, strict=False)]
    return reached[-1]


def bound_queues(kind: str, bindings: Iterable[Bound], key: str) -> list[str]:
    """Return the queues that a call with this routing key reaches, each once, in alphabetical order."""
    if kind == ExchangeKind.FANOUT:
        reached = {bound.queue for bound in bindings}
    elif kind == ExchangeKind.DIRECT:
        reached = {bound.queue for bound in bindings if bound.routing_key == key}
    else:
        reached = {bound.queue for bound in bindings if topic_matches(bound.routing_key, key)}
    return sorted(reached)
