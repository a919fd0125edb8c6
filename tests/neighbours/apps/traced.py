"""An app with OpenTelemetry's instrumentation; spans go to a file, a line each."""

import json
from collections.abc import Sequence

from celery import signals
from opentelemetry import trace
from opentelemetry.instrumentation.celery import CeleryInstrumentor
from opentelemetry.sdk.trace import ReadableSpan, TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor, SpanExporter, SpanExportResult

from tests.neighbours.apps import base

app, legion = base.make()
base.add_jobs(app, legion)


class Lines(SpanExporter):
    """Appends spans to a file."""

    def export(self, spans: Sequence[ReadableSpan]) -> SpanExportResult:
        with open(f"{base.env['NEIGHBOUR_FOLDER']}/spans.jsonl", "a") as file:
            for span in spans:
                line = {
                    "name": span.name,
                    "kind": span.kind.name,
                    "trace": span.context.trace_id,
                    "id": span.context.span_id,
                }
                file.write(json.dumps({**line, "parent": span.parent.span_id if span.parent else None}) + "\n")
        return SpanExportResult.SUCCESS


@signals.worker_process_init.connect
@signals.beat_init.connect
def start_tracing(**_: object) -> None:
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(Lines()))
    trace.set_tracer_provider(provider)
    CeleryInstrumentor().instrument()
