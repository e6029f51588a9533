"""OpenTelemetry spans of runs and steps, in the words of its GenAI conventions.

Off, and not even imported, unless OTEL_EXPORTER_OTLP_ENDPOINT is set. Questions, passages and answers are never sent.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from llmkit.extras import need
from llmkit.types import State, StepRecord

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
_NS = 1_000_000_000


class Spans:
    """Tells a tracer, where there is one."""

    def __init__(self, tracer: Any = None, provider: Any = None) -> None:
        self._tracer, self._provider = tracer, provider

    @classmethod
    def from_environment(cls) -> Spans:
        """Spans to the endpoint that the environment names; silent where it names none.

        Raises:
            MissingExtra: an endpoint is named and OpenTelemetry is not installed.
        """
        if not os.environ.get(ENDPOINT):
            return cls()
        trace = need("opentelemetry.sdk.trace", feature="telling spans", extra="otel")
        export = need("opentelemetry.sdk.trace.export", feature="telling spans", extra="otel")
        otlp = need("opentelemetry.exporter.otlp.proto.http.trace_exporter", feature="telling spans", extra="otel")
        resources = need("opentelemetry.sdk.resources", feature="telling spans", extra="otel")
        name = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "llmkit")}
        provider = trace.TracerProvider(resource=resources.Resource.create(name))
        provider.add_span_processor(export.BatchSpanProcessor(otlp.OTLPSpanExporter()))
        return cls(provider.get_tracer("llmkit"), provider)

    @contextmanager
    def run(self, pipeline: str, started: float, request: str) -> Iterator[Callable[[State], None]]:
        """A span of a run; give what it yields the state, for a span of each step."""
        if self._tracer is None:
            yield lambda _: None
            return
        from opentelemetry.trace import SpanKind, Status, StatusCode

        span = self._tracer.start_span(
            f"invoke_agent {pipeline}",
            kind=SpanKind.INTERNAL,
            start_time=int(started * _NS),
            attributes={
                "gen_ai.operation.name": "invoke_agent",
                "gen_ai.agent.name": pipeline,
                "llmkit.request": request,
            },
        )
        try:
            yield lambda state: self._steps(span, state, started)
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))  # its text may quote a document
            span.set_attribute("error.type", type(error).__name__)
            step = getattr(error, "step", None)
            if step:
                span.set_attribute("llmkit.step", step)
            raise
        finally:
            span.end()

    def close(self) -> None:
        """Send what is left."""
        if self._provider is not None:
            self._provider.shutdown()

    def _steps(self, parent: Any, state: State, started: float) -> None:
        from opentelemetry.trace import set_span_in_context

        at = started
        for record in state.records:
            name, attributes = _told(record)
            span = self._tracer.start_span(
                name, context=set_span_in_context(parent), start_time=int(at * _NS), attributes=attributes
            )
            at += record.seconds
            span.end(int(at * _NS))
        parent.set_attribute("gen_ai.usage.input_tokens", state.usage.input_tokens)
        parent.set_attribute("gen_ai.usage.output_tokens", state.usage.output_tokens)
        if state.answer is not None:
            parent.set_attribute("llmkit.abstained", state.answer.abstained)
            parent.set_attribute("llmkit.citations", len(state.answer.citations))


def _told(record: StepRecord) -> tuple[str, dict[str, Any]]:
    """Name and attributes of a step's span."""
    step = record.step.partition("] ")[2] or record.step
    attributes: dict[str, Any] = {"llmkit.step": record.step}
    model = record.detail.get("model")
    if record.usage.calls and model:
        provider, _, name = str(model).partition(":")
        attributes |= {
            "gen_ai.operation.name": "chat",
            "gen_ai.provider.name": provider,
            "gen_ai.request.model": name or provider,
            "gen_ai.usage.input_tokens": record.usage.input_tokens,
            "gen_ai.usage.output_tokens": record.usage.output_tokens,
        }
        return f"chat {name or provider}", attributes
    if step == "retrieve":
        attributes |= {"gen_ai.operation.name": "retrieval", "llmkit.hits": len(record.detail.get("hits", ()))}
        return "retrieval", attributes
    return step, attributes
