"""OpenTelemetry: spans and metrics are exported to the endpoint; without one, nothing is imported."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from serving import QUESTION, knowledge, running

from llmkit.errors import ModelError
from llmkit.pipeline.telemetry import spans as telemetry

pytestmark = pytest.mark.network


@pytest.fixture
def collector(monkeypatch):
    """Collects OTLP requests: spans, the bodies they came in, and bodies of metrics."""
    trace = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs the extra otel"
    )
    spans, bodies, metrics = [], [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            if self.path == "/v1/metrics":
                metrics.append(body)
            else:
                take(body)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    def take(body):
        bodies.append(body)
        message = trace.ExportTraceServiceRequest.FromString(body)
        spans.extend(span for one in message.resource_spans for scope in one.scope_spans for span in scope.spans)

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    endpoint = f"http://127.0.0.1:{server.server_port}"
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint)
    yield spans, bodies, metrics
    told = telemetry._exporters.pop(endpoint, None)
    if told is not None:
        told.close()
    server.shutdown()
    server.server_close()


def attributes(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_run_is_a_span_with_a_span_for_each_step(tmp_path, collector):
    spans, bodies, metrics = collector
    knowledge(tmp_path / "kb")
    outputs = ["It is August [1].", ModelError("zebra crashed")]
    with running(tmp_path, outputs) as served:
        body = {"model": "write", "messages": [{"role": "user", "content": QUESTION}]}
        head = {"X-Request-Id": "mine-1"}
        assert served.http.post("/v1/chat/completions", json=body, headers=head).status_code == 200
        assert served.http.post("/v1/chat/completions", json=body).status_code == 503
    runs = [span for span in spans if span.name == "invoke_agent write"]
    assert len(runs) == 2
    good, bad = sorted(runs, key=lambda span: span.status.code)
    steps = {span.name: span for span in spans if span.parent_span_id == good.span_id}
    assert set(steps) == {"condense", "retrieval", "chat x"}
    told = attributes(steps["chat x"])
    assert told["gen_ai.operation.name"] == "chat"
    assert (told["gen_ai.provider.name"], told["gen_ai.request.model"]) == ("scripted", "x")
    assert told["gen_ai.usage.output_tokens"] == 4
    assert attributes(good)["llmkit.request"] == "mine-1"
    for span in steps.values():
        assert good.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano
        assert span.end_time_unix_nano <= good.end_time_unix_nano + 5_000_000
    assert bad.status.code == 2
    assert attributes(bad)["llmkit.step"] == "steps[2] answer"
    for word in (b"August", b"serviced", b"zebra"):
        assert not any(word in one for one in (*bodies, *metrics))
    assert {about.get("error.type") for name, about, *_ in points(metrics) if name == "operation.duration"} == {
        None, "ModelError"
    }  # fmt: skip


def points(bodies):
    """Return (metric, attributes, count, sum) of each exported histogram."""
    metrics = pytest.importorskip("opentelemetry.proto.collector.metrics.v1.metrics_service_pb2")
    found = []
    for body in bodies:
        message = metrics.ExportMetricsServiceRequest.FromString(body)
        for metric in (m for one in message.resource_metrics for scope in one.scope_metrics for m in scope.metrics):
            assert metric.unit == ("{token}" if metric.name.endswith("usage") else "s")
            for point in metric.histogram.data_points:
                found.append((metric.name.removeprefix("gen_ai.client."), attributes(point), point.count, point.sum))
    return found


def test_calls_of_models_are_measured_for_pipelines_in_python_too(tmp_path, collector):
    from llmkit.errors import StepError
    from llmkit.models.scripted import ScriptedChat
    from llmkit.pipeline import Pipeline

    spans, _, metrics = collector
    failing = []
    script = ScriptedChat(lambda _: ModelError("zebra crashed") if failing else "one better three")
    steps = ["generate", {"type": "refine", "rounds": 1}]
    made = Pipeline.model_validate({"name": "mine", "model": "scripted:x", "steps": steps}).with_models(
        lambda _: script
    )
    made.run("Say three words.")
    assert len(script.calls) >= 2
    failing.append(True)
    with pytest.raises(StepError):
        made.run("Again.")
    telemetry.current().flush()
    found = points(metrics)
    said = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": "scripted", "gen_ai.request.model": "x"}
    took = {about.get("error.type", ""): count for name, about, count, _ in found if name == "operation.duration"}
    assert took == {"": len(script.calls) - 1, "ModelError": 1}
    used = {
        about.pop("gen_ai.token.type"): (about, count, total)
        for name, about, count, total in found
        if name == "token.usage"
    }
    assert used["output"][0] == used["input"][0] == said
    assert used["output"][1] == used["input"][1] == len(script.calls) - 1
    assert used["output"][2] == 3 * (len(script.calls) - 1)
    assert [count for name, _, count, _ in found if name == "operation.time_to_first_chunk"]
    assert {span.name for span in spans if not span.parent_span_id} == {"invoke_agent mine"}
    assert not any(b"zebra" in one or b"better" in one for one in metrics)


def test_an_agents_calls_are_spans_below_its_step(collector):
    from test_agent import call, using

    from llmkit.models.scripted import ScriptedChat
    from llmkit.pipeline import Pipeline

    spans, bodies, _ = collector
    script = ScriptedChat(
        [using(call("calculator", expression="6 * 7")), using(call("calculator", expression="6 *")), "42."]
    )
    steps = [{"type": "agent", "tools": ["calculator"]}]
    made = Pipeline.model_validate({"name": "mine", "model": "scripted:x", "steps": steps}).with_models(
        lambda _: script
    )
    assert made.run("What is 6 * 7?").answer.text == "42."
    telemetry.current().flush()
    (step,) = [span for span in spans if span.name == "invoke_agent agent"]
    below = sorted(
        (span for span in spans if span.parent_span_id == step.span_id), key=lambda s: s.start_time_unix_nano
    )
    chat, tool = "chat x", "execute_tool calculator"
    assert [span.name for span in below] == [chat, tool, chat, tool, chat]
    assert [attributes(span).get("error.type") for span in below if span.name == tool] == [None, "error"]
    assert attributes(below[0])["gen_ai.usage.input_tokens"] > 0
    assert step.start_time_unix_nano <= below[0].start_time_unix_nano
    assert below[-1].end_time_unix_nano <= step.end_time_unix_nano + 5_000_000
    assert not any(b"6 *" in body for body in bodies)


def test_the_command_sends_before_it_ends(tmp_path, collector):
    spans, _, metrics = collector
    file = tmp_path / "mine.yaml"
    file.write_text("name: mine\nmodel: scripted:Hello there\nsteps: [generate]\n")
    subprocess.run([sys.executable, "-m", "llmkit", "ask", "Hi?", "--pipeline", str(file)], check=True, cwd=tmp_path)
    assert [span.name for span in spans] == ["chat Hello there", "invoke_agent mine"]
    assert {name for name, *_ in points(metrics)} >= {"operation.duration", "token.usage"}


def test_without_an_endpoint_nothing_is_imported(tmp_path):
    # LangSmith, which LangChain brings, imports the SDK by itself; exporters are ours alone
    code = (
        "import sys\nfrom llmkit.pipeline import Pipeline\n"
        "made = Pipeline.model_validate({'name': 'p', 'model': 'scripted:x', 'steps': ['generate']})\n"
        "assert made.run('Hi?').answer.text == 'x'\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry.exporter')]\n"
        "assert 'llmkit.pipeline.telemetry.call_metrics' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_an_endpoint_without_opentelemetry_warns_once_and_stops_nothing(monkeypatch):
    from llmkit.pipeline import Pipeline

    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", "http://127.0.0.1:9/nowhere")
    monkeypatch.setitem(sys.modules, "opentelemetry.sdk.trace", None)
    monkeypatch.setattr(telemetry, "_exporters", {})
    made = Pipeline.model_validate({"name": "p", "model": "scripted:x", "steps": ["generate"]})
    with pytest.warns(RuntimeWarning, match="nothing is sent there: .*otel"):
        assert made.run("Hi?").answer.text == "x"
    assert made.run("Hi?").answer.text == "x"
