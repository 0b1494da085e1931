"""OpenTelemetry: a span for each call and each attempt, in one trace from request to task to subtask, and metrics.

Importing this module subscribes; ``apps.py`` does so where ``DJQUEUE["OPENTELEMETRY"]`` is on. Only the API is used:
where spans and figures go is decided by the site's own providers, in each process that has the site loaded.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from djqueue import events, signals, states
from djqueue.carried import carry
from djqueue.states import Ending

SPAN = "_djqueue_span"
OUTCOMES = {
    Ending.SUCCEEDED: "succeeded",
    Ending.FORGOTTEN: "succeeded",
    Ending.SETTLED: "succeeded",
    Ending.FAILED: "failed",
    Ending.RETRIED: "retried",
    Ending.CANCELLED: "cancelled",
    Ending.LOST: "lost",
}


class Telemetry:
    """Holds the tracer and the instruments. Raises ``ImportError`` without ``opentelemetry-api``."""

    def __init__(self) -> None:
        from opentelemetry import context, metrics, propagate, trace

        self._context, self._propagate, self._trace = context, propagate, trace
        self._tracer = trace.get_tracer("djqueue")
        meter = metrics.get_meter("djqueue")
        self._attempts = meter.create_counter("djqueue.attempts", description="Attempts that ended")
        self._runs = meter.create_histogram("djqueue.run.duration", "s", "How long attempts ran")
        self._waits = meter.create_histogram("djqueue.wait.duration", "s", "How long tasks waited for their start")

    def carry(self, name: str, queue: str) -> Mapping[str, str]:
        """Return headers that say of which trace a call is, with a span for the call itself."""
        span = self._tracer.start_span(
            f"enqueue {name}", kind=self._trace.SpanKind.PRODUCER, attributes=_attributes(name, queue)
        )
        span.end()
        headers: dict[str, str] = {}
        self._propagate.inject(headers, self._trace.set_span_in_context(span))
        return headers

    def begin(self, sender: Any, task_id: str, task: Any, **named: Any) -> None:
        """Open the span of an attempt, below that of its call, and make it the current one."""
        request = task.request
        headers = request.headers if isinstance(request.headers, Mapping) else {}
        before = self._context.get_current()
        parent = self._propagate.extract(headers, context=before) if headers else before
        span = self._tracer.start_span(
            f"run {task.name}", context=parent, kind=self._trace.SpanKind.CONSUMER,
            attributes={
                **_attributes(task.name, None),
                "messaging.message.id": str(task_id),
                "djqueue.attempt": (request.retries or 0) + 1,
            },
        )  # fmt: skip
        self._context.attach(self._trace.set_span_in_context(span, parent))
        request.__dict__[SPAN] = span, before

    def fail(self, sender: Any, exception: BaseException, **named: Any) -> None:
        self._note(sender.request, exception)

    def retry(self, sender: Any, request: Any, reason: Any, **named: Any) -> None:
        self._note(request, reason.exc if isinstance(reason.exc, BaseException) else reason)

    def _note(self, request: Any, error: BaseException) -> None:
        span, _ = request.__dict__.get(SPAN, (None, None))
        if span is not None:
            span.record_exception(error)

    def end(self, sender: Any, task: Any, state: str, **named: Any) -> None:
        """Close the span; whatever was current before the attempt is again."""
        span, before = task.request.__dict__.pop(SPAN, (None, None))
        if span is None:
            return
        span.set_attribute("djqueue.state", state)
        if state == states.FAILURE:
            span.set_status(self._trace.StatusCode.ERROR)
        span.end()
        # Not by its token: another thread may have begun the attempt, whose tokens this one cannot give back.
        self._context.attach(before)

    def measure(self, event: events.TasksSettled) -> None:
        """Record attempts that were stored."""
        for claim, outcome in event.settled:
            name = OUTCOMES.get(outcome.ending)
            if name is None:
                continue
            labels = {"task": claim.name, "queue": claim.queue}
            self._attempts.add(1, {**labels, "outcome": name})
            if outcome.started is not None:
                self._runs.record(max(0.0, outcome.finished - outcome.started), labels)
                if claim.attempt == 1:
                    self._waits.record(max(0.0, outcome.started - claim.created), labels)


def _attributes(name: str, queue: str | None) -> dict[str, Any]:
    own = {"messaging.system": "djqueue", "djqueue.task": name}
    return own if queue is None else {**own, "messaging.destination.name": queue}


def install() -> Telemetry:
    """Begin to trace and to measure in this process. Raises ``ImportError`` without ``opentelemetry-api``."""
    telemetry = Telemetry()
    carry(telemetry.carry)
    for signal, receiver in (
        (signals.task_prerun, telemetry.begin),
        (signals.task_failure, telemetry.fail),
        (signals.task_retry, telemetry.retry),
        (signals.task_postrun, telemetry.end),
    ):
        signal.connect(receiver, weak=False, dispatch_uid=f"djqueue.telemetry.{signal.name}")
    events.subscribe(events.TasksSettled)(telemetry.measure)
    return telemetry
