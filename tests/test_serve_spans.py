"""OpenTelemetry: spans of runs and steps at the endpoint that is named, and not even an import without one."""

from __future__ import annotations

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from serving import QUESTION, knowledge, running

from llmkit.errors import ModelError

pytestmark = pytest.mark.network


@pytest.fixture
def collector(monkeypatch):
    """Spans that were sent over OTLP, as they come in."""
    trace = pytest.importorskip(
        "opentelemetry.proto.collector.trace.v1.trace_service_pb2", reason="needs the extra otel"
    )
    spans, bodies = [], []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            body = self.rfile.read(int(self.headers["Content-Length"]))
            if self.headers.get("Content-Encoding") == "gzip":
                import gzip

                body = gzip.decompress(body)
            bodies.append(body)
            message = trace.ExportTraceServiceRequest.FromString(body)
            spans.extend(span for one in message.resource_spans for scope in one.scope_spans for span in scope.spans)
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{server.server_port}")
    yield spans, bodies
    server.shutdown()
    server.server_close()


def attributes(span):
    return {one.key: one.value.string_value or one.value.int_value for one in span.attributes}


def test_a_run_is_a_span_with_a_span_for_each_step(tmp_path, collector):
    spans, bodies = collector
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
        assert not any(word in one for one in bodies)


def test_without_an_endpoint_nothing_is_imported(tmp_path):
    code = (
        "import sys\nfrom llmkit.serve.spans import Spans\nspans = Spans.from_environment()\n"
        "with spans.run('p', 0.0, 'r') as told:\n    told(None)\n"
        "assert not [name for name in sys.modules if name.startswith('opentelemetry')]\n"
    )
    subprocess.run([sys.executable, "-c", code], check=True)
