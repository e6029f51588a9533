"""Hits that differ from one another."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar

import numpy as np
from pydantic import Field

from llmkit.arguments import many_texts
from llmkit.part import Part
from llmkit.protocols import Retriever, Searchable, Where
from llmkit.registry import one_of
from llmkit.retrieval.dense_and_bm25 import check, encoded
from llmkit.retrieval.one_snapshot import on_one_snapshot
from llmkit.types import Hit


class MaximalMarginalRelevance(Part):
    """Picks hits one by one: near the question, far from those picked before (Carbonell & Goldstein 1998).

    ``score`` is the marginal relevance: trade_off · cosine to the question − (1 − trade_off) · greatest cosine to a
    hit picked before.
    """

    family: ClassVar[str] = "retriever"
    type: ClassVar[str] = "mmr"

    of: Annotated[Retriever, one_of("retriever")] = Field(default="hybrid", validate_default=True)
    """The retriever whose hits are picked from."""
    trade_off: float = Field(default=0.7, ge=0, le=1)
    """1: relevance alone; 0: difference alone."""
    fetch: int = Field(default=50, ge=1)
    """How many hits are picked from; never fewer than k."""

    def retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[list[Hit]]:
        """For each query at most k hits, in the order picked."""
        many_texts(queries, "queries")
        check(queries, k)
        return on_one_snapshot(kb, lambda view: self._retrieve(view, queries, k, where))

    def _retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where) -> list[list[Hit]]:
        candidates = self.of.retrieve(kb, queries, max(k, self.fetch), where)
        return [self._pick(kb, query, hits, k) for query, hits in zip(encoded(kb, queries), candidates, strict=True)]

    def _pick(self, kb: Searchable, query: np.ndarray, hits: list[Hit], k: int) -> list[Hit]:
        if not hits:
            return []
        vectors = kb.vectors([hit.chunk.row for hit in hits])
        relevance = vectors @ query
        nearest = np.zeros(len(hits), dtype=np.float32)
        left = np.ones(len(hits), dtype=bool)
        picked: list[Hit] = []
        while left.any() and len(picked) < k:
            margin = self.trade_off * relevance - (1 - self.trade_off) * nearest
            best = int(np.flatnonzero(left)[np.argmax(margin[left])])
            hit = hits[best]
            picked.append(Hit(hit.chunk, float(margin[best]), hit.scores))
            left[best] = False
            similar = vectors @ vectors[best]
            nearest = similar if len(picked) == 1 else np.maximum(nearest, similar)
        return picked
