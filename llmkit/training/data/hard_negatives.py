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
from llmkit.training.data.corpus_index import CorpusIndex
from llmkit.training.data.examples import Example, Passage
from llmkit.types import Chunk, Hit

_BATCH = 64
Vectors = NDArray[np.float32]
REASONS = {
    "positive": "known positives",
    "answer": "hold an answer",
    "margin": "score too close to the positive",
    "reranker": "judged right by the reranker",
}


@dataclass
class MiningResult:
    """Examples with their mined negatives, and what was dropped."""

    examples: list[Example]
    dropped: Counter[str] = field(default_factory=Counter)
    """Candidates by the screen that dropped them."""
    candidates: int = 0
    kept: int = 0
    without: int = 0
    """Examples for which no negative was left."""
    unscored: int = 0
    """Positives too long for the encoder, whose margin could not be lines."""

    def notes(self) -> list[str]:
        """The counts, a line each."""
        lines = [f"{self.candidates} candidates, {self.kept} kept as negatives of {len(self.examples)} questions"]
        lines += [f"{self.dropped[name]} dropped: {why}" for name, why in REASONS.items() if self.dropped[name]]
        if self.without:
            lines.append(f"{self.without} questions have no negative")
        if self.unscored:
            lines.append(f"{self.unscored} positives were cut at what the encoder reads to score them")
        return lines


def mine(
    examples: Sequence[Example],
    index: CorpusIndex,
    *,
    depth: int = 50,
    keep: int = 8,
    margin: float = 0.95,
    sources: Iterable[str] = ("bm25", "dense"),
    reranker: Reranker | None = None,
    on_progress: Callable[[int, int], None] = lambda done, total: None,
) -> MiningResult:
    """Find hard negatives for each example; they follow the negatives that it has.

    Args:
        examples: questions with their positives.
        index: the passages searched, and the encoder whose cosines are compared.
        depth: candidates of each source.
        keep: negatives of each question.
        margin: a candidate's score must be below this share of the best positive's.
        sources: ``bm25``, ``dense``.
        reranker: scores positives and kept negatives; the scores are written for distillation.
        on_progress: called with the questions done and all questions.
    """
    many(sources, "sources")
    result = MiningResult([])
    sources = list(sources)
    for start in range(0, len(examples), _BATCH):
        batch = examples[start : start + _BATCH]
        queries = [one.query for one in batch]
        vectors = index.encode_queries(queries)
        rankings = [index.bm25(queries, depth) if name == "bm25" else index.dense(vectors, depth) for name in sources]
        for row, example in enumerate(batch):
            merged = _interleave([ranking[row] for ranking in rankings])
            result.examples.append(_screen(example, vectors[row], merged, index, keep, margin, reranker, result))
        on_progress(min(start + _BATCH, len(examples)), len(examples))
    return result


def _screen(
    example: Example,
    query: Vectors,
    candidates: list[int],
    index: CorpusIndex,
    keep: int,
    margin: float,
    reranker: Reranker | None,
    result: MiningResult,
) -> Example:
    known = {passage.key for passage in (*example.positives, *example.negatives)}
    answers = [words for answer in example.answers if (words := tokens(answer))]
    best, cut = index.best(query, example.positives)
    result.unscored += cut
    result.candidates += len(candidates)
    cosines = index.vectors[candidates] @ query
    kept: list[Passage] = []
    for position, cosine in zip(candidates, cosines.tolist(), strict=True):
        passage = index.passages[position]
        if passage.key in known:
            result.dropped["positive"] += 1
        elif any(_contains_tokens(index.passage_tokens(position), words) for words in answers):
            result.dropped["answer"] += 1
        elif cosine >= margin * best:
            result.dropped["margin"] += 1
        else:
            kept.append(passage)
            if len(kept) == (keep if reranker is None else 2 * keep):
                break
    scores: tuple[float, ...] = ()
    if reranker is not None:
        kept, scores = _rerank(example, kept, margin, reranker, result)
    negatives = (*example.negatives, *kept[:keep])
    result.kept += len(kept[:keep])
    result.without += not negatives
    cut_scores = scores[: len(example.positives) + len(negatives)]
    return Example(example.query, example.positives, negatives, example.answers, example.place, cut_scores)


def _rerank(
    example: Example, kept: list[Passage], margin: float, reranker: Reranker, result: MiningResult
) -> tuple[list[Passage], tuple[float, ...]]:
    """The candidates that the reranker judges wrong, and the scores of all positives and negatives."""
    first = (*example.positives, *example.negatives)
    scores = score_passages(reranker, example.query, [*first, *kept])
    best = max(_probability(score) for score in scores[: len(example.positives)])
    fine = [_probability(score) < margin * best for score in scores[len(first) :]]
    result.dropped["reranker"] += fine.count(False)
    left = [passage for passage, right in zip(kept, fine, strict=True) if right]
    given = [score for score, right in zip(scores[len(first) :], fine, strict=True) if right]
    return left, (*scores[: len(first)], *given)


def score_passages(reranker: Reranker, query: str, passages: Sequence[Passage]) -> list[float]:
    """The scores that a reranker gives passages, in their order."""
    hits = [Hit(_chunk(row, passage), 0.0, {}) for row, passage in enumerate(passages)]
    (ranked,) = reranker.rerank_all([query], [hits], len(hits))
    given = {hit.chunk.row: hit.score for hit in ranked}
    return [given[row] for row in range(len(passages))]


def _chunk(row: int, passage: Passage) -> Chunk:
    return Chunk(passage.id or str(row), 0, 0, len(passage.text), passage.text, 0, title=passage.title, row=row)


def _probability(score: float) -> float:
    return 1 / (1 + math.exp(-max(-60.0, min(60.0, score))))


def _interleave(rankings: list[list[int]]) -> list[int]:
    """The first of each ranking, the second of each, and so on; each candidate once."""
    deepest = max((len(ranking) for ranking in rankings), default=0)
    return list(dict.fromkeys(r[rank] for rank in range(deepest) for r in rankings if rank < len(r)))


def _contains_tokens(text: list[str], words: list[str]) -> bool:
    """Whether the text contains the words one after another."""
    first, size = words[0], len(words)
    return any(word == first and text[i : i + size] == words for i, word in enumerate(text))
