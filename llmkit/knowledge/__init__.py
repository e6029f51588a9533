"""The knowledge base: documents in, evidence out."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase as KnowledgeBase
    from llmkit.knowledge.vector_settings import VectorSettings as VectorSettings

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "knowledge_base": ["KnowledgeBase"],
        "vector_settings": ["VectorSettings"],
    },
    moved=dict.fromkeys(("BM25", "Dense", "Hybrid"), "llmkit.retrieval"),
)
