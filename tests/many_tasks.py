"""Many short tasks that leave notes, and what must be true of them in the end."""

from __future__ import annotations

from collections import Counter

from djqueue.doctor import check_invariants
from djqueue.models import TaskResult
from djqueue.results import AsyncResult
from djqueue.states import State

from .site.worker_tasks import notes
from .worker_process import Notes, all_finished, eventually

MANY = 2000
PAUSE = 0.002
"""Seconds that each of many tasks takes, so that something can happen in their middle."""


def enqueue_many(file: Notes, number: int = MANY, seconds: float = PAUSE) -> list[AsyncResult]:
    return notes.delay_many(((file.path, place, seconds), {}) for place in range(number))


def assert_none_lost(file: Notes, results: list[AsyncResult], using: str = "default") -> None:
    """Every task has run and succeeded, and the doctor finds nothing."""
    eventually(all_finished(results, using), timeout=60, what="all results")
    assert TaskResult.objects.using(using).exclude(state=State.SUCCEEDED).count() == 0
    assert set(file.texts()) == {str(place) for place in range(len(results))}
    assert check_invariants(using) == []


def runs_beyond_the_first(file: Notes) -> int:
    return sum(number - 1 for number in Counter(file.texts()).values())
