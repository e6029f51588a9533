"""Retrievers and rerankers: from questions to ranked passages."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.retrieval.dense_and_bm25 import BM25 as BM25
    from llmkit.retrieval.dense_and_bm25 import Dense as Dense
    from llmkit.retrieval.fusion import reciprocal_rank as reciprocal_rank
    from llmkit.retrieval.fusion import weighted as weighted
    from llmkit.retrieval.hybrid import Hybrid as Hybrid
    from llmkit.retrieval.mmr import MaximalMarginalRelevance as MaximalMarginalRelevance
    from llmkit.retrieval.rerankers.local_cross_encoder import LocalCrossEncoder as LocalCrossEncoder
    from llmkit.retrieval.rerankers.sentence_transformers import CrossEncoder as CrossEncoder
    from llmkit.retrieval.rerankers.sentence_transformers import LateInteraction as LateInteraction

__getattr__, __dir__, __all__ = lazy_names(
    __name__,
    {
        "dense_and_bm25": ["BM25", "Dense"],
        "fusion": ["reciprocal_rank", "weighted"],
        "hybrid": ["Hybrid"],
        "mmr": ["MaximalMarginalRelevance"],
        "rerankers.local_cross_encoder": ["LocalCrossEncoder"],
        "rerankers.sentence_transformers": ["CrossEncoder", "LateInteraction"],
    },
)
