"""Where the retrievers were in release 0.1; they are in :mod:`llmkit.retrieval` now."""

from __future__ import annotations

from llmkit.lazy import lazy_names

__getattr__, __dir__, __all__ = lazy_names(
    __name__, {}, moved=dict.fromkeys(("BM25", "Dense"), "llmkit.retrieval.dense_and_bm25")
)
