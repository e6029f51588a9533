"""OpenTelemetry spans of runs and steps, by the GenAI semantic conventions.

Telemetry is off, and OpenTelemetry is not imported, unless OTEL_EXPORTER_OTLP_ENDPOINT is set. Questions, passages and
answers are never sent.
"""

from __future__ import annotations

import os
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from importlib import import_module
from typing import TYPE_CHECKING, Any

from llmkit.approval import ApprovalNeeded
from llmkit.errors import MissingExtra
from llmkit.extras import need
from llmkit.pipeline.telemetry.current_model import split_model
from llmkit.types import State, StepRecord

if TYPE_CHECKING:
    from llmkit.pipeline.telemetry.call_metrics import CallMetrics

ENDPOINT = "OTEL_EXPORTER_OTLP_ENDPOINT"
REQUEST: ContextVar[str] = ContextVar("llmkit_request", default="")
"""Id of the HTTP request that a run belongs to."""
_NS = 1_000_000_000
_FLUSH_TIMEOUT = 5000  # milliseconds
_exporters: dict[str, Telemetry | None] = {}
_lock = threading.Lock()


class Telemetry:
    """Sends spans and metrics to one endpoint."""

    def __init__(self) -> None:
        """Create the exporters. They read their settings from the environment and flush when Python exits.

        Raises:
            MissingExtra: OpenTelemetry is not installed.
        """
        need("opentelemetry.sdk.trace", feature="telling OpenTelemetry", extra="otel")
        need("opentelemetry.exporter.otlp.proto.http.trace_exporter", feature="telling OpenTelemetry", extra="otel")
        from llmkit.pipeline.telemetry.call_metrics import CallMetrics

        def part(path: str) -> Any:
            return import_module(f"opentelemetry.{path}")

        otlp = "exporter.otlp.proto.http"
        name = {"service.name": os.environ.get("OTEL_SERVICE_NAME", "llmkit")}
        resource = part("sdk.resources").Resource.create(name)
        self._spans = part("sdk.trace").TracerProvider(resource=resource)
        exporter = part(f"{otlp}.trace_exporter").OTLPSpanExporter()
        self._spans.add_span_processor(part("sdk.trace.export").BatchSpanProcessor(exporter))
        self._tracer = self._spans.get_tracer("llmkit")
        reader = part("sdk.metrics.export").PeriodicExportingMetricReader(
            part(f"{otlp}.metric_exporter").OTLPMetricExporter()
        )
        self._metrics = part("sdk.metrics").MeterProvider(metric_readers=[reader], resource=resource)
        self.calls: CallMetrics = CallMetrics(self._metrics.get_meter("llmkit"))

    @contextmanager
    def run(self, pipeline: str, known: int) -> Iterator[Callable[[State], None]]:
        """A span of a run.

        It yields a function that takes the final state and adds a span for each step after the first `known` records.
        """
        from opentelemetry.trace import SpanKind, Status, StatusCode

        started = time.time()
        about = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": pipeline}
        request = {"llmkit.request": REQUEST.get()} if REQUEST.get() else {}
        span = self._tracer.start_span(
            f"invoke_agent {pipeline}",
            kind=SpanKind.INTERNAL,
            start_time=int(started * _NS),
            attributes=about | request,
        )
        try:
            with self.calls.listen():
                yield lambda state: self._add_steps(span, state, started, known)
        except ApprovalNeeded as needed:
            span.set_attribute("llmkit.waiting", len(needed.requests))
            raise
        except BaseException as error:
            span.set_status(Status(StatusCode.ERROR, type(error).__name__))  # the message may quote a document
            span.set_attribute("error.type", type(error).__name__)
            step = getattr(error, "step", None)
            if step:
                span.set_attribute("llmkit.step", step)
            raise
        finally:
            span.end()

    def flush(self) -> None:
        """Send what is still in the buffers."""
        self._spans.force_flush(_FLUSH_TIMEOUT)
        self._metrics.force_flush(_FLUSH_TIMEOUT)

    def close(self) -> None:
        """Send what is still in the buffers and stop the threads."""
        self._spans.shutdown()
        self._metrics.shutdown()

    def _add_steps(self, parent: Any, state: State, started: float, known: int) -> None:
        from opentelemetry.trace import set_span_in_context

        at = started
        for record in state.records[known:]:
            name, attributes = _step_span(record)
            span = self._tracer.start_span(
                name, context=set_span_in_context(parent), start_time=int(at * _NS), attributes=attributes
            )
            inside = at
            for name, seconds, attributes in _agent_spans(record):
                child = self._tracer.start_span(
                    name, context=set_span_in_context(span), start_time=int(inside * _NS), attributes=attributes
                )
                inside += seconds
                child.end(int(inside * _NS))
            at += record.seconds
            span.end(int(at * _NS))
        parent.set_attribute("gen_ai.usage.input_tokens", state.usage.input_tokens)
        parent.set_attribute("gen_ai.usage.output_tokens", state.usage.output_tokens)
        if state.answer is not None:
            parent.set_attribute("llmkit.abstained", state.answer.abstained)
            parent.set_attribute("llmkit.citations", len(state.answer.citations))


def current() -> Telemetry | None:
    """The telemetry of the endpoint in the environment; None where none is set.

    Raises:
        MissingExtra: an endpoint is set and OpenTelemetry is not installed.
    """
    endpoint = os.environ.get(ENDPOINT)
    if not endpoint:
        return None
    with _lock:
        if endpoint not in _exporters:
            _exporters[endpoint] = Telemetry()
        return _exporters[endpoint]


@contextmanager
def record_run(pipeline: str, known: int) -> Iterator[Callable[[State], None]]:
    """:meth:`Telemetry.run` where an endpoint is set. A missing package is warned of once, and the run goes on."""
    try:
        telemetry = current()
    except MissingExtra as error:
        warnings.warn(f"{ENDPOINT} is set, and nothing is sent there: {error}", RuntimeWarning, stacklevel=2)
        _exporters[os.environ[ENDPOINT]] = telemetry = None
    if telemetry is None:
        yield lambda _: None
        return
    with telemetry.run(pipeline, known) as record_steps:
        yield record_steps


def _step_span(record: StepRecord) -> tuple[str, dict[str, Any]]:
    """Name and attributes of the span of a step."""
    step = record.step.partition("] ")[2] or record.step
    attributes: dict[str, Any] = {"llmkit.step": record.step}
    model = record.detail.get("model")
    if record.detail.get("trace"):
        return f"invoke_agent {step}", attributes | {"gen_ai.operation.name": "invoke_agent"}
    if record.usage.calls and model:
        return _chat(str(model), record.usage.input_tokens, record.usage.output_tokens, attributes)
    if step == "retrieve":
        attributes |= {"gen_ai.operation.name": "retrieval", "llmkit.hits": len(record.detail.get("hits", ()))}
        return "retrieval", attributes
    return step, attributes


def _agent_spans(record: StepRecord) -> Iterator[tuple[str, float, dict[str, Any]]]:
    """Name, seconds and attributes of each model and tool call of an agent, in order, without arguments and results."""
    for entry in record.detail.get("trace", ()):
        if entry["kind"] == "model":
            name, attributes = _chat(
                str(record.detail.get("model") or "unknown"), entry["input_tokens"], entry["output_tokens"], {}
            )
        else:
            name = f"execute_tool {entry['name']}"
            attributes = {"gen_ai.operation.name": "execute_tool", "gen_ai.tool.name": entry["name"]}
            if entry["status"] != "ok":
                attributes["error.type"] = entry["status"]
        yield name, entry["seconds"], attributes


def _chat(model: str, input_tokens: int, output_tokens: int, more: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """Name and attributes of the span of a model call."""
    provider, name = split_model(model)
    return f"chat {name}", more | {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": provider,
        "gen_ai.request.model": name,
        "gen_ai.usage.input_tokens": input_tokens,
        "gen_ai.usage.output_tokens": output_tokens,
    }
