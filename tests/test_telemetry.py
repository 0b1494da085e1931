"""OpenTelemetry: one trace from the request over the task to what it calls, in a worker process, and metrics."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from djqueue import carried, events, signals
from djqueue.models import Task
from djqueue.observability import telemetry
from djqueue.records import Claim, Outcome

from .site.tasks import noop
from .site.traced_tasks import inner, outer
from .worker_process import Workers, all_finished, eventually

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(scope="module")
def reader() -> Iterator[InMemoryMetricReader]:
    """The provider of figures of this process, which OpenTelemetry lets nobody set twice."""
    reader = InMemoryMetricReader()
    provider = MeterProvider([reader])
    metrics.set_meter_provider(provider)
    yield reader
    provider.shutdown()


@pytest.fixture(scope="module")
def exporter() -> InMemorySpanExporter:
    exporter = InMemorySpanExporter()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(exporter))
    trace.set_tracer_provider(provider)
    return exporter


@pytest.fixture
def traced(exporter: InMemorySpanExporter) -> Iterator[InMemorySpanExporter]:
    """Trace the calls of this process, as ``OPENTELEMETRY`` does."""
    exporter.clear()
    installed = telemetry.install()
    yield exporter
    carried.carriers.remove(installed.carry)
    events._subscribers[events.TasksSettled].remove(installed.measure)
    for signal in (signals.task_prerun, signals.task_failure, signals.task_retry, signals.task_postrun):
        assert signal.disconnect(dispatch_uid=f"djqueue.telemetry.{signal.name}")


def spans_of(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


@pytest.mark.parametrize("pool", ["processes", "threads", "asyncio"])
def test_a_trace_goes_from_the_request_to_the_task_to_what_it_calls(
    workers: Workers, traced: InMemorySpanExporter, tmp_path: Path, pool: str
) -> None:
    path = tmp_path / "spans"
    workers.run(
        "-c", "1", "-P", pool,
        OPENTELEMETRY=True, IMPORTS=["tests.site.traced_tasks"], environment={"TRACES": str(path)},
    )  # fmt: skip
    with trace.get_tracer("tests").start_as_current_span("request") as request:
        outer.delay()
    found = eventually(lambda: len(spans := spans_of(path)) == 6 and spans, what="all spans")
    trace_id = request.get_span_context().trace_id
    assert {span["trace"] for span in found} == {trace_id}
    (enqueued,) = [span for span in traced.get_finished_spans() if span.name.startswith("enqueue")]
    assert enqueued.parent is not None
    assert enqueued.parent.span_id == request.get_span_context().span_id
    by_id = {span["span"]: span for span in found}

    def line_of(span: dict[str, Any]) -> list[str]:
        names = [span["name"].rpartition(".")[2]]
        while (parent := span["parent"]) in by_id:
            span = by_id[parent]
            names.append(span["name"].rpartition(".")[2])
        assert parent == enqueued.context.span_id
        return names

    # "enqueue" and "run" both end in the name of the task.
    assert sorted(map(line_of, found)) == [
        ["inner", "inner", "outer"], ["inner", "inner", "work", "outer"], ["inner", "outer"],
        ["inner", "work", "outer"], ["outer"], ["work", "outer"],
    ]  # fmt: skip
    ended = {(span["status"], span["state"], *span["events"]) for span in found if span["name"].startswith("run")}
    assert ended == {("UNSET", "SUCCESS"), ("ERROR", "FAILURE", "ValueError")}
    eventually(all_finished([]))


def test_headers_of_the_call_win_and_the_others_stay(traced: InMemorySpanExporter) -> None:
    noop.apply_async(headers={"tenant": "a"})
    noop.apply_async(headers={"traceparent": "mine"})
    first, second = (task.options["headers"] for task in Task.objects.order_by("pk"))
    assert first["tenant"] == "a"
    assert first["traceparent"].startswith("00-")
    assert second["traceparent"] == "mine"


def test_eager_tasks_are_in_the_trace_of_their_caller(traced: InMemorySpanExporter) -> None:
    with trace.get_tracer("tests").start_as_current_span("request") as request:
        noop.apply()
        assert trace.get_current_span() is request
    (span,) = [span for span in traced.get_finished_spans() if span.name.startswith("run")]
    assert span.parent is not None
    assert span.parent.span_id == request.get_span_context().span_id


def test_without_telemetry_calls_carry_nothing() -> None:
    noop.delay()
    inner.delay_many([((), {})])
    assert [task.options for task in Task.objects.all()] == [None, None]


def test_what_is_settled_is_measured(reader: InMemoryMetricReader, traced: InMemorySpanExporter) -> None:
    claim = Claim("x", 1, "a", "[]", "{}", None, "mail", 0, 100.0, 101.0)
    events.emit(events.TasksSettled([(claim, Outcome.succeeded("x", 1, "null", 102.0, 105.0))]))
    events.emit(events.TasksSettled([(claim, Outcome.released("x", 1))]))
    data: Any = reader.get_metrics_data()
    points = {
        metric.name: metric.data.data_points[0]
        for resource in data.resource_metrics for scope in resource.scope_metrics for metric in scope.metrics
    }  # fmt: skip
    assert points["djqueue.attempts"].value == 1
    assert points["djqueue.attempts"].attributes == {"task": "a", "queue": "mail", "outcome": "succeeded"}
    assert points["djqueue.run.duration"].sum == 3.0
    assert points["djqueue.wait.duration"].sum == 2.0
