"""Metrics of one worker for Prometheus: what it has settled since it started, from the sums that it stores anyway."""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any

from djqueue import events
from djqueue.histogram import RUNS, bounds_of, step_of
from djqueue.records import Tallied
from djqueue.worker.health import Page

OUTCOMES = ("succeeded", "failed", "retried", "cancelled")
# Every fourth doubling boundary of the steps, so that no step lies in two buckets: from 1 ms to 72 minutes.
BOUNDS = tuple((4 << shift) / 1_000_000 for shift in range(8, 31, 2))
Key = tuple[str, str]


class Sums:
    """What has ended here, by task and queue. Numbers only grow, as Prometheus expects of counters."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._endings: dict[Key, Counter[str]] = defaultdict(Counter)
        self._times: dict[Key, Counter[int]] = defaultdict(Counter)
        self.executors_lost = self.reclaimed = self.dropped = 0

    def add(self, row: Tallied) -> None:
        """Count a row of the tally."""
        key = row.name, row.queue
        with self._lock:
            for outcome in OUTCOMES:
                self._endings[key][outcome] += getattr(row, outcome)
            for step, number in zip(row.steps, row.counts, strict=True):
                self._times[key][step] += number

    def endings(self) -> dict[Key, Counter[str]]:
        with self._lock:
            return {key: Counter(counts) for key, counts in self._endings.items()}

    def times(self) -> dict[Key, Counter[int]]:
        with self._lock:
            return {key: Counter(counts) for key, counts in self._times.items()}


sums = Sums()


@events.subscribe(events.AttemptsCounted)
def counted(event: events.AttemptsCounted) -> None:
    for row in event.rows:
        sums.add(row)


@events.subscribe(events.ExecutorLost)
def executor_lost(event: events.ExecutorLost) -> None:
    sums.executors_lost += 1


@events.subscribe(events.WorkerReclaimed)
def worker_reclaimed(event: events.WorkerReclaimed) -> None:
    sums.reclaimed += event.requeued + event.failed


@events.subscribe(events.OutcomesDropped)
def outcomes_dropped(event: events.OutcomesDropped) -> None:
    sums.dropped += len(event.ids)


class WorkerCollector:
    """Yields the families of metrics when Prometheus asks."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

        attempts = CounterMetricFamily(
            "djqueue_attempts", "Attempts that this worker has settled", labels=["task", "queue", "outcome"]
        )
        for (name, queue), counts in sums.endings().items():
            for outcome in OUTCOMES:
                attempts.add_metric([name, queue, outcome], counts[outcome])
        yield attempts
        waits = HistogramMetricFamily(
            "djqueue_wait_seconds", "From when a task could start to its first start", labels=["task", "queue"]
        )
        runs = HistogramMetricFamily("djqueue_run_seconds", "How long attempts ran", labels=["task", "queue"])
        for labels, steps in sums.times().items():
            waited = {step: number for step, number in steps.items() if step < RUNS}
            ran = {step - RUNS: number for step, number in steps.items() if step >= RUNS}
            for family, one in ((waits, waited), (runs, ran)):
                family.add_metric(list(labels), buckets=buckets(one), sum_value=about(one))
        yield waits
        yield runs
        for name, text, number in (
            ("djqueue_executors_lost", "Executors that died", sums.executors_lost),
            ("djqueue_reclaimed_tasks", "Tasks taken back from workers that were gone", sums.reclaimed),
            ("djqueue_dropped_outcomes", "Outcomes that came after their lease", sums.dropped),
        ):
            yield CounterMetricFamily(name, text, value=number)


def buckets(steps: dict[int, int]) -> list[tuple[str, float]]:
    """Return how many durations are below each bound, by the bound as text."""
    below = [(str(bound), float(sum(n for step, n in steps.items() if step < step_of(bound)))) for bound in BOUNDS]
    return [*below, ("+Inf", float(sum(steps.values())))]


def about(steps: dict[int, int]) -> float:
    """Return the sum of the durations in seconds, each taken to lie in the middle of its step."""
    return sum(sum(bounds_of(step)) / 2 * number for step, number in steps.items())


def page() -> Page:
    """Return what ``/metrics`` of a worker says; 501 where ``prometheus-client`` is not installed."""
    try:
        from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest
    except ImportError:
        needed = "needs prometheus-client: pip install 'django-djqueue[prometheus]'\n"
        return Page(HTTPStatus.NOT_IMPLEMENTED, needed, "text/plain; charset=utf-8")
    registry = CollectorRegistry(auto_describe=False)
    registry.register(WorkerCollector())
    return Page(HTTPStatus.OK, generate_latest(registry).decode(), CONTENT_TYPE_LATEST)
