"""Metrics of model calls: seconds, seconds to the first piece, tokens. One LangChain callback hears them all.

Imported only where an endpoint is named.
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

from llmkit.pipeline.run_context import CURRENT_MODEL
from llmkit.pipeline.telemetry import spans

_SECONDS = tuple(0.01 * 2**n for n in range(14))  # the buckets of the conventions, as those of tokens
_TOKENS = tuple(4**n for n in range(14))
_heard_by: ContextVar[BaseCallbackHandler | None] = ContextVar("llmkit_model_calls", default=None)
register_configure_hook(_heard_by, inheritable=True)


class ModelCalls(BaseCallbackHandler):
    """Records every call of a chat model that begins while it hears."""

    def __init__(self, meter: Any) -> None:
        def histogram(name: str, unit: str, said: str, buckets: Sequence[float]) -> Any:
            return meter.create_histogram(
                f"gen_ai.client.{name}", unit, said, explicit_bucket_boundaries_advisory=list(buckets)
            )

        self._took = histogram("operation.duration", "s", "GenAI operation duration.", _SECONDS)
        self._first = histogram("operation.time_to_first_chunk", "s", "Time to receive the first chunk.", _SECONDS)
        self._used = histogram("token.usage", "{token}", "Number of input and output tokens used.", _TOKENS)
        self._running: dict[UUID, tuple[float, dict[str, str]]] = {}
        self._silent: set[UUID] = set()

    @contextmanager
    def heard(self) -> Iterator[None]:
        """Hear the calls of this thread, and of those it begins."""
        before = _heard_by.set(self)
        try:
            yield
        finally:
            _heard_by.reset(before)

    def on_chat_model_start(self, serialized: Any, messages: Any, *, run_id: UUID, **_: Any) -> None:
        """A call begins."""
        provider, name = spans.split(CURRENT_MODEL.get() or "unknown")
        about = {"gen_ai.operation.name": "chat", "gen_ai.provider.name": provider, "gen_ai.request.model": name}
        self._running[run_id] = time.perf_counter(), about
        self._silent.add(run_id)

    def on_llm_new_token(self, token: Any, *, run_id: UUID, **_: Any) -> None:
        """A piece of the reply came."""
        if run_id in self._silent:
            self._silent.discard(run_id)
            began, about = self._running[run_id]
            self._first.record(time.perf_counter() - began, about)

    def on_llm_end(self, response: Any, *, run_id: UUID, **_: Any) -> None:
        """The reply is whole."""
        about = self._ended(run_id)
        for one in (one for many in response.generations for one in many):
            counts = getattr(getattr(one, "message", None), "usage_metadata", None) or {}
            for kind in ("input", "output"):
                if f"{kind}_tokens" in counts:
                    self._used.record(counts[f"{kind}_tokens"], {**about, "gen_ai.token.type": kind})

    def on_llm_error(self, error: BaseException, *, run_id: UUID, **_: Any) -> None:
        """The call failed, or nobody wanted the rest of it."""
        self._ended(run_id, {"error.type": type(error).__name__})

    def _ended(self, run_id: UUID, more: dict[str, str] | None = None) -> dict[str, str]:
        began, about = self._running.pop(run_id, (time.perf_counter(), {}))
        self._silent.discard(run_id)
        self._took.record(time.perf_counter() - began, {**about, **(more or {})})
        return about
