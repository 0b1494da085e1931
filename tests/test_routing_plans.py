"""What the statement reads that tells producers of exchanges: each exchange and each binding, once."""

from __future__ import annotations

import pytest
from django.db import connection

from djqueue.models import Binding, Exchange
from djqueue.store.bindings import read_exchanges

from .rows_read import STATISTICS, by_call, execute, statistics

EXCHANGES, EACH = 40, 25
PLANNING = 10
"""Rows that the planner may look at to know the least and the greatest key."""


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("known", STATISTICS)
def test_each_exchange_and_binding_is_read_once(known: str) -> None:
    with statistics(known, execute):
        exchanges = Exchange.objects.bulk_create(Exchange(name=f"e{n}", kind="topic") for n in range(EXCHANGES))
        Binding.objects.bulk_create(
            Binding(exchange=one, routing_key=f"{n}.#", queue=f"q{n}") for one in exchanges for n in range(EACH)
        )

    assert by_call(lambda: read_exchanges(connection)) <= EXCHANGES + EXCHANGES * EACH + PLANNING

    assert {name: len(bindings) for name, (_, bindings) in read_exchanges(connection).items()} == {
        exchange.name: EACH for exchange in exchanges
    }
