"""Rerankers: cross-encoders and late interaction."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder as LocalCrossEncoder
    from llmkit.retrieval.rerankers.sentence_transformers import CrossEncoder as CrossEncoder
    from llmkit.retrieval.rerankers.sentence_transformers import LateInteraction as LateInteraction

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "local_cross_encoder": ["LocalCrossEncoder"],
        "sentence_transformers": ["CrossEncoder", "LateInteraction"],
    },
)
