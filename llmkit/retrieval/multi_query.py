"""One question, several queries: retrieved together, their rankings fused by rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmkit.encoders.fit_query import fit_query
from llmkit.protocols import Ranking, Retriever, Rewritten, Searchable, Where
from llmkit.retrieval.dense_and_bm25 import encoded, hits
from llmkit.retrieval.fusion import ordered, reciprocal_rank
from llmkit.retrieval.one_snapshot import on_one_snapshot
from llmkit.types import Hit

HYPOTHETICAL = "hypothetical"
"""Name of the ranking that hypothetical passages make, in the scores of a hit."""


@dataclass(frozen=True, slots=True)
class Ranked:
    """What one query found."""

    query: str
    """The query; empty for hypothetical passages."""
    hits: list[Hit]


def search(
    kb: Searchable,
    retriever: Retriever,
    question: str,
    more: Rewritten,
    k: int,
    where: Where = None,
    constant: float = 60.0,
) -> tuple[list[Hit], list[Ranked]]:
    """The k best hits for a question and its rewritings, and what each query found.

    Rankings are fused by rank (Cormack et al. 2009), each with one vote of the same weight, the question's own among
    them. Hypothetical passages are encoded as passages and averaged with the question's encoding into the vector of
    one more ranking (HyDE: Gao et al. 2022). ``scores`` keeps what the retriever gave a hit for the query that ranked
    it first.
    """
    return on_one_snapshot(kb, lambda view: _search(view, retriever, question, more, k, where, constant))


def _search(
    kb: Searchable, retriever: Retriever, question: str, more: Rewritten, k: int, where: Where, constant: float
) -> tuple[list[Hit], list[Ranked]]:
    queries = list(dict.fromkeys([question, *(fit_query(kb.encoder, query)[0] for query in more.queries)]))
    found = [Ranked(*one) for one in zip(queries, retriever.retrieve(kb, queries, k, where), strict=True)]
    if more.passages:
        found.append(Ranked("", _like(kb, question, more.passages, k, where)))
    if len(found) == 1:
        return found[0].hits, found
    fused = reciprocal_rank([_ranking(one.hits) for one in found], [1.0] * len(found), constant)
    best: dict[int, tuple[int, Hit]] = {}
    for one in found:
        for rank, hit in enumerate(one.hits):
            if hit.chunk.row not in best or rank < best[hit.chunk.row][0]:
                best[hit.chunk.row] = rank, hit
    return [Hit(best[row][1].chunk, score, best[row][1].scores) for row, score in ordered(fused, k)], found


def _like(kb: Searchable, question: str, passages: Sequence[str], k: int, where: Where) -> list[Hit]:
    """The chunks nearest to the mean of the question and passages that would answer it."""
    fitting = [fit_query(kb.encoder, passage)[0] for passage in passages]
    vectors = np.concatenate([encoded(kb, [question]), kb.encoder.encode_passages(fitting)])
    mean = vectors.mean(axis=0, keepdims=True)
    length = float(np.linalg.norm(mean))
    if length < 1e-6:  # they cancel each other out
        return []
    return hits(kb, HYPOTHETICAL, kb.search_dense((mean / length).astype(np.float32), k, where))[0]


def _ranking(found: Sequence[Hit]) -> Ranking:
    rows = np.array([hit.chunk.row for hit in found], dtype=np.int64)
    return rows, np.array([hit.score for hit in found], dtype=np.float32)
