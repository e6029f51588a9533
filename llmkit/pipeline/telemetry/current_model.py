"""The chat model that a step asked for, by name, for spans and metrics."""

from __future__ import annotations

from contextvars import ContextVar

CURRENT_MODEL: ContextVar[str] = ContextVar("llmkit_model", default="")
"""The model that a step asked for last, as YAML names it."""


def split_model(name: str) -> tuple[str, str]:
    """Provider and model of a name such as ``local:smollm2``; a name without a provider is both."""
    provider, _, model = name.partition(":")
    return provider, model or provider
