"""Metrics of the whole queue for Prometheus: how it stands in the database, read when it is asked for."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

from django.db import connections
from django.utils import timezone

from djqueue.admin.lines import COUNTED, read_lines
from djqueue.admin.overview import read_queues, read_workers
from djqueue.conf import settings

GAUGES = (
    ("djqueue_ready_tasks", f"Tasks in line, counted to {COUNTED + 1}"),
    ("djqueue_oldest_ready_seconds", "Age of the first task in line, 0 if there is none"),
    ("djqueue_running_tasks", "Tasks that workers hold"),
    ("djqueue_due_tasks", "Tasks of the queue among the 10,000 that are due next"),
    ("djqueue_queue_paused", "Whether the queue is paused"),
)
LATE = """
SELECT
    count(*) FILTER (WHERE next_run_at < statement_timestamp()),
    coalesce(extract(epoch FROM statement_timestamp() - min(next_run_at)), 0)::double precision
FROM djqueue_schedule
WHERE enabled
"""


class QueueCollector:
    """Yields the families of metrics when Prometheus asks. No statement reads a whole line."""

    def collect(self) -> Iterator[Any]:
        from prometheus_client.core import GaugeMetricFamily

        yield from self._queues(GaugeMetricFamily)
        workers = GaugeMetricFamily("djqueue_workers", "Workers by how their lease stands", labels=["state"])
        slots = GaugeMetricFamily("djqueue_worker_slots", "Tasks that live workers can run at once")
        counted, places = _workers()
        for state in ("alive", "late", "lost"):
            workers.add_metric([state], counted[state])
        slots.add_metric([], places)
        yield from (workers, slots)
        with connections[settings.DATABASE].cursor() as cursor:
            cursor.execute(LATE)
            late, lag = cursor.fetchone()
        yield GaugeMetricFamily("djqueue_late_schedules", "Schedules that are due and not fired", value=late)
        yield GaugeMetricFamily("djqueue_schedule_lag_seconds", "How late the latest of them is", value=max(0.0, lag))

    def _queues(self, family: Any) -> Iterator[Any]:
        queues = read_queues(settings.DATABASE)
        lines = read_lines(settings.DATABASE, [queue.name for queue in queues])
        families = [family(name, text, labels=["queue"]) for name, text in GAUGES]
        for queue in queues:
            line = lines.get(queue.name, queue.line)
            oldest = 0.0 if line.oldest is None else line.oldest.total_seconds()
            paused = queue.paused_until is not None and queue.paused_until > timezone.now()
            for gauge, value in zip(
                families, (line.ready, oldest, line.running, queue.scheduled, int(paused)), strict=True
            ):
                gauge.add_metric([queue.name], value)
        yield from families


def _workers() -> tuple[Counter[str], int]:
    """Return how many workers there are in each state, and the slots of those that live."""
    counted: Counter[str] = Counter()
    slots = 0
    for worker in read_workers(settings.DATABASE):
        if worker.lease_left < timedelta(0):
            counted["lost"] += 1
            continue
        counted["late" if worker.silent_for > timedelta(seconds=2 * settings.HEARTBEAT) else "alive"] += 1
        slots += worker.concurrency * (1 if worker.pool in ("processes", "solo") else worker.processes)
    return counted, slots


def metrics() -> tuple[bytes, str]:
    """Return the metrics and their media type. Raises ``ImportError`` without ``prometheus-client``."""
    from prometheus_client import CONTENT_TYPE_LATEST, CollectorRegistry, generate_latest

    registry = CollectorRegistry(auto_describe=False)
    registry.register(QueueCollector())
    return generate_latest(registry), CONTENT_TYPE_LATEST
