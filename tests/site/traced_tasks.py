"""Tasks that are traced: importing this module sends spans to the file that the environment names."""

from __future__ import annotations

import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from djqueue import shared_task


class FileExporter(SpanExporter):
    """Appends a line of JSON for each span."""

    def __init__(self, path: str) -> None:
        self.path = Path(path)

    def export(self, spans: Sequence[Any]) -> SpanExportResult:
        with self.path.open("a") as file:
            file.writelines(json.dumps(facts_of(span)) + "\n" for span in spans)
        return SpanExportResult.SUCCESS


def facts_of(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "trace": span.context.trace_id,
        "span": span.context.span_id,
        "parent": span.parent and span.parent.span_id,
        "status": span.status.status_code.name,
        "state": span.attributes.get("djqueue.state"),
        "events": [event.attributes.get("exception.type") for event in span.events],
    }


if path := os.environ.get("TRACES"):
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(FileExporter(path)))
    trace.set_tracer_provider(provider)


@shared_task
def outer() -> None:
    with trace.get_tracer("tests").start_as_current_span("work"):
        inner.delay()
    inner.delay_many([((True,), {})])


@shared_task
async def inner(fails: bool = False) -> None:
    if fails:
        raise ValueError("no")
