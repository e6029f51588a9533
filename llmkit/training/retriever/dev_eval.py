"""The dev set of a retriever: how well held-out questions find their passages in a corpus."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.evaluation.metrics.retrieval import ndcg, recall, reciprocal_rank
from llmkit.training.data.examples import Example, Passage
from llmkit.training.retriever.bi_encoder import Side

Vectors = NDArray[np.float32]
_MAX_RANK = 20


class DevSet:
    """Held-out questions, and all passages that they are searched in."""

    def __init__(self, examples: Sequence[Example], corpus: Sequence[Passage]) -> None:
        """Take the corpus, and add the passages of the examples that it lacks.

        Raises:
            DataError: the corpus has fewer than two passages.
        """
        known = {passage.key: passage for passage in corpus}
        self.added = 0
        for example in examples:
            for passage in (*example.positives, *example.negatives):
                self.added += passage.key not in known
                known.setdefault(passage.key, passage)
        self.examples = list(examples)
        self.names = list(known)
        self.passages = [passage.indexed_text for passage in known.values()]
        self.queries = [example.query for example in examples]
        self.relevant = [{passage.key: 1.0 for passage in example.positives} for example in examples]
        if len(self.passages) < 2:
            raise DataError(
                "the corpus of the dev set has one passage, which every retriever finds: give `corpus`, or more data"
            )

    def figures(self, encode: Callable[[Side, Sequence[str]], Vectors], dim: int | None = None) -> dict[str, float]:
        """recall@1/5/20, mrr@10, ndcg@10 with ``encode(side, texts)``; vectors cut to `dim`."""
        queries, passages = (
            _cut(vectors, dim) for vectors in (encode("query", self.queries), encode("passage", self.passages))
        )
        k = min(_MAX_RANK, len(self.passages))
        rankings = []
        for start in range(0, len(queries), 512):
            scores = queries[start : start + 512] @ passages.T
            best = np.argpartition(-scores, k - 1, axis=1)[:, :k] if k < scores.shape[1] else np.argsort(-scores)
            order = np.take_along_axis(best, np.argsort(-np.take_along_axis(scores, best, 1), axis=1, kind="stable"), 1)
            rankings += [[self.names[column] for column in row] for row in order]
        return mean_figures(rankings, self.relevant)


def mean_figures(rankings: Sequence[Sequence[str]], relevant: Sequence[dict[str, float]]) -> dict[str, float]:
    """Means over questions."""
    pairs = list(zip(rankings, relevant, strict=True))
    found = {f"recall@{k}": float(np.mean([recall(run, gold, k) for run, gold in pairs])) for k in (1, 5, 20)}
    found["mrr@10"] = float(np.mean([reciprocal_rank(run, gold, 10) for run, gold in pairs]))
    found["ndcg@10"] = float(np.mean([ndcg(run, gold, 10) for run, gold in pairs]))
    return found


def _cut(vectors: Vectors, dim: int | None) -> Vectors:
    if dim is None or dim == vectors.shape[1]:
        return vectors
    cut = vectors[:, :dim]
    unit: Vectors = cut / np.maximum(np.linalg.norm(cut, axis=1, keepdims=True), 1e-12)
    return unit
