"""Retrievers: dense (inner product of encodings) and BM25."""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from llmkit.arguments import many_texts
from llmkit.encoders.fit_query import fit_query
from llmkit.errors import DataError
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.part import Part
from llmkit.protocols import Ranking, Searchable, Where
from llmkit.retrieval.one_snapshot import on_one_snapshot
from llmkit.types import Hit


class Dense(Part):
    """The chunks whose encodings are nearest to the question's (Karpukhin et al. 2020)."""

    family: ClassVar[str] = "retriever"
    type: ClassVar[str] = "dense"

    def retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[list[Hit]]:
        """For each query at most k hits, best first. A query longer than the encoder reads is cut at its limit."""
        many_texts(queries, "queries")
        return on_one_snapshot(kb, lambda view: hits(view, "dense", self.rank(view, queries, k, where)))

    def rank(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[Ranking]:
        """Rows and cosines."""
        many_texts(queries, "queries")
        check(queries, k)
        view = kb.snapshot()
        return view.search_dense(encoded(view, queries), k, where)


class BM25(Part):
    """The chunks that share the question's rarest words (Robertson & Zaragoza 2009)."""

    family: ClassVar[str] = "retriever"
    type: ClassVar[str] = "bm25"

    def retrieve(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[list[Hit]]:
        """For each query at most k hits, best first; only chunks that share a word with it."""
        many_texts(queries, "queries")
        return on_one_snapshot(kb, lambda view: hits(view, "bm25", self.rank(view, queries, k, where)))

    def rank(self, kb: Searchable, queries: Sequence[str], k: int, where: Where = None) -> list[Ranking]:
        """Rows and BM25 scores."""
        many_texts(queries, "queries")
        check(queries, k)
        return kb.search_bm25(queries, k, where)


def hits(kb: Searchable, name: str, found: Sequence[Ranking]) -> list[list[Hit]]:
    """Rankings of one retriever as hits, with one look at the catalogue for all."""
    rows = sorted({row for ranking, _ in found for row in ranking.tolist()})
    chunks = dict(zip(rows, kb.chunks(rows), strict=True))
    return [
        [Hit(chunks[row], score, {name: score}) for row, score in zip(ranking.tolist(), scores.tolist(), strict=True)]
        for ranking, scores in found
    ]


def encoded(kb: Searchable, queries: Sequence[str]) -> NDArray[np.float32]:
    """Queries as unit vectors (n, dim), each cut at the encoder's limit.

    Raises:
        KnowledgeError: the encoder gave something else.
    """
    vectors = kb.encoder.encode_queries([fit_query(kb.encoder, query)[0] for query in queries])
    return unit_vectors(vectors, len(queries), kb.encoder.dim, f"the encoder {kb.encoder.identity}")


def check(queries: Sequence[str], k: int) -> None:
    """Refuse a lone string for queries, empty queries, and a k below 1.

    Raises:
        DataError: says which.
    """
    if not isinstance(k, int) or isinstance(k, bool):
        raise DataError(f"k is {k!r}: how many passages to find is a whole number")
    if k < 1:
        raise DataError(f"k is {k}: how many passages to find is 1 or more")
    for position, query in enumerate(many_texts(queries, "queries")):
        if not query.strip():
            raise DataError(f"query {position} is empty")
