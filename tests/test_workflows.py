"""Workflows on a real worker."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from djqueue import chain, chord, group

from .site.canvas_tasks import add, boom, identity, mul, replaced_by_chain, replaced_by_group, tsum
from .worker_process import Workers


@pytest.fixture
def worker(workers: Workers) -> Iterator[object]:
    return workers.run("-c", "1", IMPORTS=["tests.site.canvas_tasks"])


def test_chain(worker):
    result = chain(add.s(1, 1), add.s(2), mul.s(3)).apply_async()
    assert result.get(timeout=30) == 12
    assert result.parent.get(timeout=30) == 4


def test_chord(worker):
    assert chord([add.s(n, n) for n in range(10)], tsum.s()).apply_async().get(timeout=30) == 90
    nested = group(identity.s(1), group(identity.s(2), identity.s(3)), identity.s(4) | group(identity.s(), add.s(1)))
    assert (nested | identity.s()).apply_async().get(timeout=30) == [1, 2, 3, [4, 5]]


def test_failure(worker):
    result = chain(add.s(1, 1), boom.s(), add.s(2), group(add.s(1), add.s(2)), tsum.s()).apply_async()
    with pytest.raises(ValueError, match="boom"):
        result.get(timeout=30)


def test_replace(worker):
    assert chain(replaced_by_chain.s(2), add.s(1)).apply_async().get(timeout=30) == 13
    assert chain(replaced_by_group.s(1, 2), tsum.s()).apply_async().get(timeout=30) == 5
