"""The retrievers and rerankers, under the word that YAML has for them: ``retriever: {type: hybrid}``."""

from __future__ import annotations

from llmkit.lazy import lazy_names

TYPE_CHECKING = False
if TYPE_CHECKING:
    from llmkit.retrieval.dense_and_bm25 import BM25 as BM25
    from llmkit.retrieval.dense_and_bm25 import Dense as Dense
    from llmkit.retrieval.hybrid import Hybrid as Hybrid
    from llmkit.retrieval.mmr import MaximalMarginalRelevance as MaximalMarginalRelevance

__getattr__, __dir__, __all__ = lazy_names(
    __name__, {"llmkit.retrieval": ["BM25", "Dense", "Hybrid", "MaximalMarginalRelevance"]}
)
