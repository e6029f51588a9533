"""What Prometheus reads at ``/metrics``: numbers and names of ours, never a word that was asked or answered."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmkit.errors import Cancelled
from llmkit.extras import need
from llmkit.serve.runtime.admission_queue import Turnstile
from llmkit.types import State

_SECONDS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)


class Metrics:
    """Counters of one server, in a registry of its own."""

    def __init__(self, turnstile: Turnstile) -> None:
        prometheus = need("prometheus_client", feature="the server", extra="serve")
        self._text = prometheus.generate_latest
        self.kind = prometheus.CONTENT_TYPE_LATEST
        self.registry = prometheus.CollectorRegistry()
        made = {"registry": self.registry, "namespace": "llmkit"}
        counter, gauge, histogram = prometheus.Counter, prometheus.Gauge, prometheus.Histogram
        self.requests = counter("requests_total", "Requests.", ("route", "method", "status"), **made)
        self.request_seconds = histogram(
            "request_seconds", "From the head of a request to the end of its answer.", ("route",), buckets=_SECONDS,
            **made,
        )  # fmt: skip
        self.runs = counter("runs_total", "Runs of pipelines by how they ended.", ("pipeline", "end"), **made)
        self.run_seconds = histogram("run_seconds", "Runs, without waiting.", ("pipeline",), buckets=_SECONDS, **made)
        self.first_seconds = histogram(
            "first_token_seconds", "From the order to the first token, waiting included.", ("pipeline",),
            buckets=_SECONDS, **made,
        )  # fmt: skip
        self.step_seconds = histogram(
            "step_seconds", "Steps of pipelines.", ("pipeline", "step"), buckets=_SECONDS, **made
        )
        self.tokens = counter("tokens_total", "Tokens of chat models.", ("pipeline", "direction"), **made)
        self.abstained = counter("abstained_total", "Answers that say there is none.", ("pipeline",), **made)
        gauge("runs_running", "Runs that have a slot.", **made).set_function(lambda: turnstile.busy)
        gauge("runs_waiting", "Runs in line.", **made).set_function(lambda: turnstile.waiting)

    @contextmanager
    def run(self, pipeline: str) -> Iterator[Callable[[], None]]:
        """Time a run and count how it ends; call what it yields where the run waits for a person."""
        started = time.perf_counter()
        end, ended = "failed", ["answered"]
        try:
            yield lambda: ended.append("waiting")
            end = ended[-1]
        except Cancelled:
            end = "stopped"
            raise
        finally:
            self.runs.labels(pipeline, end).inc()
            self.run_seconds.labels(pipeline).observe(time.perf_counter() - started)

    def answered(self, pipeline: str, state: State, first: float | None) -> None:
        """Count what a run took; `first`: seconds to its first token."""
        if first is not None:
            self.first_seconds.labels(pipeline).observe(first)
        for record in state.records:
            self.step_seconds.labels(pipeline, record.step.partition("] ")[2]).observe(record.seconds)
        usage = state.usage
        self.tokens.labels(pipeline, "input").inc(usage.input_tokens)
        self.tokens.labels(pipeline, "output").inc(usage.output_tokens)
        if state.answer is not None and state.answer.abstained:
            self.abstained.labels(pipeline).inc()

    def request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Count a request; `route` is a pattern, not a path, so that nobody makes names."""
        self.requests.labels(route, method, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def text(self) -> bytes:
        """All of it in the format of Prometheus."""
        text: bytes = self._text(self.registry)
        return text
