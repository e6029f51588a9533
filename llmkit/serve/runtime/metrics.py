"""Metrics in the format of Prometheus, served at ``/metrics``. They hold no text of questions or answers."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from llmkit.errors import Cancelled
from llmkit.extras import need
from llmkit.serve.runtime.admission_queue import AdmissionQueue
from llmkit.types import State

_BUCKETS = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60)  # seconds


class Metrics:
    """The metrics of one server, in a registry of its own.

    Args:
        admission: the queue whose running and waiting jobs are shown.

    Raises:
        MissingExtra: the extra ``serve`` is not installed.
    """

    def __init__(self, admission: AdmissionQueue) -> None:
        prometheus = need("prometheus_client", feature="the server", extra="serve")
        self._render = prometheus.generate_latest
        self.content_type = prometheus.CONTENT_TYPE_LATEST
        self.registry = prometheus.CollectorRegistry()
        shared = {"registry": self.registry, "namespace": "llmkit"}
        counter, gauge, histogram = prometheus.Counter, prometheus.Gauge, prometheus.Histogram
        self.requests = counter("requests_total", "HTTP requests.", ("route", "method", "status"), **shared)
        self.request_seconds = histogram(
            "request_seconds", "Seconds from the head of a request to the end of its response.", ("route",),
            buckets=_BUCKETS, **shared,
        )  # fmt: skip
        self.runs = counter("runs_total", "Pipeline runs, by how they ended.", ("pipeline", "end"), **shared)
        self.run_seconds = histogram(
            "run_seconds", "Seconds of a pipeline run, without the wait for a slot.", ("pipeline",), buckets=_BUCKETS,
            **shared,
        )  # fmt: skip
        self.first_seconds = histogram(
            "first_token_seconds", "Seconds to the first token, with the wait for a slot.", ("pipeline",),
            buckets=_BUCKETS, **shared,
        )  # fmt: skip
        self.step_seconds = histogram(
            "step_seconds", "Seconds of a pipeline step.", ("pipeline", "step"), buckets=_BUCKETS, **shared
        )
        self.tokens = counter("tokens_total", "Tokens of chat models.", ("pipeline", "direction"), **shared)
        self.abstained = counter(
            "abstained_total", "Answers which say that the documents do not hold the answer.", ("pipeline",), **shared
        )
        gauge("runs_running", "Runs that hold a slot.", **shared).set_function(lambda: admission.busy)
        gauge("runs_waiting", "Runs that wait for a slot.", **shared).set_function(lambda: admission.waiting)

    @contextmanager
    def measure_run(self, pipeline: str) -> Iterator[Callable[[], None]]:
        """Time a run and count how it ends.

        Yields a function. Call it where the run ends because it waits for a person's approval.
        """
        started = time.perf_counter()
        end, outcomes = "failed", ["answered"]
        try:
            yield lambda: outcomes.append("waiting")
            end = outcomes[-1]
        except Cancelled:
            end = "stopped"
            raise
        finally:
            self.runs.labels(pipeline, end).inc()
            self.run_seconds.labels(pipeline).observe(time.perf_counter() - started)

    def record_answer(self, pipeline: str, state: State, first_token: float | None) -> None:
        """Record the steps and tokens of a finished run.

        Args:
            pipeline: name of the pipeline.
            state: final state of the run.
            first_token: seconds from the request to the first token; None where nothing was streamed.
        """
        if first_token is not None:
            self.first_seconds.labels(pipeline).observe(first_token)
        for record in state.records:
            self.step_seconds.labels(pipeline, record.step.partition("] ")[2]).observe(record.seconds)
        usage = state.usage
        self.tokens.labels(pipeline, "input").inc(usage.input_tokens)
        self.tokens.labels(pipeline, "output").inc(usage.output_tokens)
        if state.answer is not None and state.answer.abstained:
            self.abstained.labels(pipeline).inc()

    def record_request(self, route: str, method: str, status: int, seconds: float) -> None:
        """Record a request. `route` is the pattern of the path, so that clients cannot create new label values."""
        self.requests.labels(route, method, str(status)).inc()
        self.request_seconds.labels(route).observe(seconds)

    def render(self) -> bytes:
        """Return all metrics in the text format of Prometheus."""
        text: bytes = self._render(self.registry)
        return text
