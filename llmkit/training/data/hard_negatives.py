"""Hard negatives: passages that rank high for a question and do not answer it (Karpukhin et al. 2020, section 3.2).

::

    BM25 ──┐
           ├─ in turn, each once ─ screens ─ the first `keep` ─► negatives, hardest first
    dense ─┘

What ranks high is often right: on MS MARCO most of the top candidates were (Qu et al. 2021, RocketQA). Four screens,
each counted: known positives; an answer in the text; a cosine above `margin` times the best positive's (TopK-PercPos of
Moreira et al. 2024, NV-Retriever); a reranker's probability above `margin` times the best positive's.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from llmkit.arguments import many
from llmkit.evaluation.metrics.normalize import tokens
from llmkit.protocols import Reranker
from llmkit.training.data.corpus_index import Pool
from llmkit.training.data.examples import Example, Passage
from llmkit.types import Chunk, Hit

_BATCH = 64
Vectors = NDArray[np.float32]
REASONS = {
    "positive": "known positives",
    "answer": "hold an answer",
    "margin": "score too near the positive",
    "reranker": "the reranker holds right",
}


@dataclass
class Mined:
    """What mining gave."""

    examples: list[Example]
    dropped: Counter[str] = field(default_factory=Counter)
    """Candidates by the screen that dropped them."""
    candidates: int = 0
    kept: int = 0
    without: int = 0
    """Examples for which no negative was left."""
    unscored: int = 0
    """Positives too long for the encoder, whose margin could not be told."""

    def notes(self) -> list[str]:
        """The counts, a line each."""
        told = [f"{self.candidates} candidates, {self.kept} kept as negatives of {len(self.examples)} questions"]
        told += [f"{self.dropped[name]} dropped: {why}" for name, why in REASONS.items() if self.dropped[name]]
        if self.without:
            told.append(f"{self.without} questions have no negative")
        if self.unscored:
            told.append(f"{self.unscored} positives were cut at what the encoder reads to score them")
        return told


def mine(
    examples: Sequence[Example],
    pool: Pool,
    *,
    depth: int = 50,
    keep: int = 8,
    margin: float = 0.95,
    sources: Iterable[str] = ("bm25", "dense"),
    reranker: Reranker | None = None,
    tell: Callable[[int, int], None] = lambda done, total: None,
) -> Mined:
    """Hard negatives for each example, put after those it has.

    Args:
        examples: questions with their positives.
        pool: the passages searched, and the encoder whose cosines are compared.
        depth: candidates of each source.
        keep: negatives of each question.
        margin: a candidate's score must be below this share of the best positive's.
        sources: ``bm25``, ``dense``.
        reranker: scores positives and kept negatives; the scores are written for distillation.
        tell: how many of how many questions are done.
    """
    many(sources, "sources")
    found = Mined([])
    sources = list(sources)
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        queries = [one.query for one in batch]
        vectors = pool.encoded_queries(queries)
        rankings = [pool.bm25(queries, depth) if name == "bm25" else pool.dense(vectors, depth) for name in sources]
        for row, example in enumerate(batch):
            merged = _in_turn([ranking[row] for ranking in rankings])
            found.examples.append(_screened(example, vectors[row], merged, pool, keep, margin, reranker, found))
        tell(min(start + _BATCH, len(examples)), len(examples))
    return found


def _screened(
    example: Example,
    query: Vectors,
    candidates: list[int],
    pool: Pool,
    keep: int,
    margin: float,
    reranker: Reranker | None,
    found: Mined,
) -> Example:
    known = {passage.key for passage in (*example.positives, *example.negatives)}
    answers = [words for answer in example.answers if (words := tokens(answer))]
    best, cut = pool.best(query, example.positives)
    found.unscored += cut
    found.candidates += len(candidates)
    cosines = pool.vectors[candidates] @ query
    kept: list[Passage] = []
    for position, cosine in zip(candidates, cosines.tolist(), strict=True):
        passage = pool.passages[position]
        if passage.key in known:
            found.dropped["positive"] += 1
        elif any(_holds(pool.words(position), words) for words in answers):
            found.dropped["answer"] += 1
        elif cosine >= margin * best:
            found.dropped["margin"] += 1
        else:
            kept.append(passage)
            if len(kept) == (keep if reranker is None else 2 * keep):
                break
    scores: tuple[float, ...] = ()
    if reranker is not None:
        kept, scores = _reranked(example, kept, margin, reranker, found)
    negatives = (*example.negatives, *kept[:keep])
    found.kept += len(kept[:keep])
    found.without += not negatives
    cut_scores = scores[: len(example.positives) + len(negatives)]
    return Example(example.query, example.positives, negatives, example.answers, example.place, cut_scores)


def _reranked(
    example: Example, kept: list[Passage], margin: float, reranker: Reranker, found: Mined
) -> tuple[list[Passage], tuple[float, ...]]:
    """Candidates the reranker holds wrong, and scores of positives, given negatives and them."""
    first = (*example.positives, *example.negatives)
    scores = scored(reranker, example.query, [*first, *kept])
    best = max(_probability(score) for score in scores[: len(example.positives)])
    fine = [_probability(score) < margin * best for score in scores[len(first) :]]
    found.dropped["reranker"] += fine.count(False)
    left = [passage for passage, right in zip(kept, fine, strict=True) if right]
    given = [score for score, right in zip(scores[len(first) :], fine, strict=True) if right]
    return left, (*scores[: len(first)], *given)


def scored(reranker: Reranker, query: str, passages: Sequence[Passage]) -> list[float]:
    """A reranker's scores of passages, in their order."""
    hits = [Hit(_chunk(row, passage), 0.0, {}) for row, passage in enumerate(passages)]
    (ranked,) = reranker.rerank_all([query], [hits], len(hits))
    given = {hit.chunk.row: hit.score for hit in ranked}
    return [given[row] for row in range(len(passages))]


def _chunk(row: int, passage: Passage) -> Chunk:
    return Chunk(passage.id or str(row), 0, 0, len(passage.text), passage.text, 0, title=passage.title, row=row)


def _probability(score: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score))))


def _in_turn(rankings: list[list[int]]) -> list[int]:
    """First of each, second of each, and so on; each candidate once."""
    deepest = max((len(ranking) for ranking in rankings), default=0)
    return list(dict.fromkeys(r[rank] for rank in range(deepest) for r in rankings if rank < len(r)))


def _holds(text: list[str], words: list[str]) -> bool:
    """Whether the words stand in the text, in a row."""
    first, size = words[0], len(words)
    return any(word == first and text[i : i + size] == words for i, word in enumerate(text))
