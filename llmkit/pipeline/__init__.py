"""Where the capabilities meet: lists of steps over an immutable state."""

from __future__ import annotations

from llmkit.pipeline.pipeline import Pipeline, load_pipeline

__all__ = ["Pipeline", "load_pipeline"]
