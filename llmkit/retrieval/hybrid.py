"""Several retrievers as one: asked side by side, their rankings fused."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, ClassVar, Literal

import numpy as np
from pydantic import Field, model_validator

from llmkit.arguments import many_texts
from llmkit.part import Part
from llmkit.protocols import Ranking, RanksRows, Retriever, Searchable, Where
from llmkit.registry import one_of
from llmkit.retrieval.dense_and_bm25 import check
from llmkit.retrieval.fusion import ordered, reciprocal_rank, weighted
from llmkit.retrieval.one_snapshot import on_one_snapshot
from llmkit.retrieval.vocabulary_coverage import dense_weight
from llmkit.types import Hit


class Hybrid(Part):
    """Fuses retrievers. ``scores`` of each hit keeps what every part gave it.

    Where the encoder's vocabulary lacks much of a question, dense search loses weight beside the other parts: all of it
    where three tenths of the question cannot be read (:mod:`llmkit.retrieval.vocabulary_coverage`).
    """

    family: ClassVar[str] = "retriever"
    type: ClassVar[str] = "hybrid"

    parts: tuple[Annotated[Retriever, one_of("retriever")], ...] = Field(
        default=("dense", "bm25"), validate_default=True, min_length=1
    )
    """The retrievers, each a word or a mapping with 'type'."""
    fusion: Literal["rrf", "weighted"] = "weighted"
    """rrf: by rank alone; weighted: by scores scaled to [0, 1]."""
    weights: tuple[float, ...] | None = None
    """One number a part; none: all equal, but for scores of dense and BM25, which count 0.7 and 0.3."""
    constant: float = Field(default=60.0, gt=0)
    """Of rrf: how slowly the value of a rank falls."""
    depth: int = Field(default=100, ge=1)
    """How many hits of each part are fused, at least; never fewer than k."""

    @model_validator(mode="after")
    def _a_weight_each(self) -> Hybrid:
        if self.weights is not None and (len(self.weights) != len(self.parts) or min(self.weights) < 0):
            raise ValueError(f"{len(self.parts)} parts need {len(self.parts)} weights of 0 or more")
        return self

    def retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[list[Hit]]:
        """For each query at most k hits, best first."""
        many_texts(queries, "queries")
        check(queries, k)
        return on_one_snapshot(kb, lambda view: self._retrieve(view, queries, k, where))

    def _retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where) -> list[list[Hit]]:
        names = [getattr(part, "type", type(part).__name__) for part in self.parts]
        weights = self.weights or self._usual(names)
        depth = max(k, self.depth)
        by_part = [_rank(part, kb, queries, depth, where) for part in self.parts]
        fused = []
        for query, *rankings in zip(queries, *by_part, strict=True):
            usable, given = _readable(kb, query, names, weights, rankings)
            merged = reciprocal_rank(usable, given, self.constant) if self.fusion == "rrf" else weighted(usable, given)
            fused.append((ordered(merged, k), rankings))
        rows = sorted({row for best, _ in fused for row, _ in best})
        chunks = dict(zip(rows, kb.chunks(rows), strict=True))
        return [
            [Hit(chunks[row], score, _scores(row, names, rankings)) for row, score in best] for best, rankings in fused
        ]

    def _usual(self, names: Sequence[str]) -> tuple[float, ...]:
        """Chosen by ``benchmarks/retrieval.py --tune`` on CISI, CoSQA and NQ train."""
        if self.fusion == "weighted" and list(names) == ["dense", "bm25"]:
            return 0.7, 0.3
        return (1.0,) * len(names)


def _readable(
    kb: Searchable, query: str, names: Sequence[str], weights: Sequence[float], rankings: Sequence[Ranking]
) -> tuple[list[Ranking], list[float]]:
    """Rankings and weights, dense search weighing less the less the encoder can read.

    A ranking without any weight is left out, so that it adds no hits either; alone, or where nothing else found
    anything, dense search is all there is and keeps its weight.
    """
    others = [rows for name, (rows, _) in zip(names, rankings, strict=True) if name != "dense" and len(rows)]
    if "dense" not in names or not others:
        return list(rankings), list(weights)
    best = "" if query.isascii() else kb.chunks(others[0][:1])[0].text
    factor = dense_weight(kb.encoder, query, best)
    scaled = [weight * factor if name == "dense" else weight for name, weight in zip(names, weights, strict=True)]
    kept = [i for i, weight in enumerate(scaled) if weight > 0 or names[i] != "dense"]
    return [rankings[i] for i in kept], [scaled[i] for i in kept]


def _rank(part: Retriever, kb: Searchable, queries: Sequence[str], depth: int, where: Where) -> list[Ranking]:
    """Rows and scores of a part: asked for directly where it can tell them without fetching any text."""
    if isinstance(part, RanksRows):
        return list(part.rank(kb, queries, depth, where))
    return [
        (
            np.array([hit.chunk.row for hit in hits], dtype=np.int64),
            np.array([hit.score for hit in hits], dtype=np.float32),
        )
        for hits in part.retrieve(kb, queries, depth, where)
    ]


def _scores(row: int, names: Sequence[str], rankings: Sequence[Ranking]) -> dict[str, float]:
    """What each part gave the row, where it had it."""
    found = {}
    for name, (rows, scores) in zip(names, rankings, strict=True):
        at = np.flatnonzero(rows == row)
        if len(at):
            found[name] = float(scores[at[0]])
    return found
