"""Metrics of model calls: seconds, seconds to the first token, tokens. One LangChain callback records all calls.

This module is imported only where an OpenTelemetry endpoint is set.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any
from uuid import UUID

from langchain_core.callbacks import BaseCallbackHandler
from langchain_core.tracers.context import register_configure_hook

from llmkit.pipeline.telemetry.current_model import CURRENT_MODEL, split_model

_SECONDS = tuple(0.01 * 2**n for n in range(14))  # buckets of the semantic conventions, as for tokens
_TOKENS = tuple(4**n for n in range(14))
_handler: ContextVar[BaseCallbackHandler | None] = ContextVar("llmkit_model_calls", default=None)
register_configure_hook(_handler, inheritable=True)


class CallMetrics(BaseCallbackHandler):
    """Records each chat model call that begins inside :meth:`listen`."""

    def __init__(self, meter: Any) -> None:
        """Create the histograms in an OpenTelemetry meter."""

        def histogram(name: str, unit: str, description: str, buckets: Sequence[float]) -> Any:
            return meter.create_histogram(
                f"gen_ai.client.{name}", unit, description, explicit_bucket_boundaries_advisory=list(buckets)
            )

        self._duration = histogram("operation.duration", "s", "GenAI operation duration.", _SECONDS)
        self._first_token = histogram(
            "operation.time_to_first_chunk", "s", "Time to receive the first chunk.", _SECONDS
        )
        self._tokens = histogram("token.usage", "{token}", "Number of input and output tokens used.", _TOKENS)
        self._running: dict[UUID, tuple[float, dict[str, str]]] = {}
        self._waiting: set[UUID] = set()

    @contextmanager
    def listen(self) -> Iterator[None]:
        """Record the calls of this thread, and of threads that it starts."""
        before = _handler.set(self)
        try:
            yield
        finally:
            _handler.reset(before)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **_: Any) -> None:
        """Note when a call begins."""
        provider, name = split_model(CURRENT_MODEL.get() or "unknown")
        about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider, "gen_ai.request.model": name}
        self._running[run_id] = time.perf_counter(), about
        self._waiting.add(run_id)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **_: Any) -> None:
        """Record the time to the first token."""
        if run_id in self._waiting:
            self._waiting.discard(run_id)
            began, about = self._running[run_id]
            self._first_token.record(time.perf_counter() - began, about)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """Record duration and tokens of a finished call."""
        about = self._finish(run_id)
        for one in (one for many in response.generations for one in many):
            counts = getattr(getattr(one, "message", None), "usage_metadata", None) or {}
            for kind in ("input", "output"):
                if f"{kind}_tokens" in counts:
                    self._tokens.record(counts[f"{kind}_tokens"], {**about, "gen_ai.token.type": kind})

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """Record the duration of a call that failed or was stopped."""
        self._finish(run_id, {"error.type": type(error).__name__})

    def _finish(self, run_id: UUID, more: dict[str, str] | None = None) -> dict[str, str]:
        began, about = self._running.pop(run_id, (time.perf_counter(), {}))
        self._waiting.discard(run_id)
        self._duration.record(time.perf_counter() - began, {**about, **(more or {})})
        return about
