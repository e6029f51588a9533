"""How a reply ended, in the words of every provider."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from llmkit.types import FinishReason

_KEYS = ("finish_reason", "stop_reason", "done_reason", "stopReason")
_WORDS: dict[str, FinishReason] = {
    **dict.fromkeys(
        ("stop", "end_turn", "stop_sequence", "eos", "eos_token", "end", "complete", "completed", "done"), "stop"
    ),
    **dict.fromkeys(("length", "max_tokens", "max_output_tokens", "model_length", "max_length"), "length"),
    **dict.fromkeys(
        ("content_filter", "content_filtered", "safety", "recitation", "blocklist", "prohibited_content", "spii",
         "guardrail_intervened", "refusal", "sensitive"),
        "content_filter",
    ),
    **dict.fromkeys(("tool_calls", "tool_use", "function_call", "tool_call"), "tool_calls"),
}  # fmt: skip
FAILED = frozenset({"error", "insufficient_system_resource", "repetition_truncation", "network_error"})
"""Words with which a gateway says that the model behind it failed."""


def finish_reason(metadata: Mapping[str, Any]) -> tuple[FinishReason, str]:
    """The reason in one of llmkit's words, and the provider's own word where llmkit does not know it."""
    for key in _KEYS:
        word = metadata.get(key)
        if isinstance(word, str) and word:
            known = _WORDS.get(word.strip().casefold())
            return (known, "") if known else ("missing", word)
    return "missing", ""
