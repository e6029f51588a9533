"""Ranking: recall, MRR, nDCG, MAP over documents, and DPR's top-k answer accuracy over passages."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import ClassVar, Literal

from pydantic import Field

from llmkit.arguments import many_texts
from llmkit.evaluation.metrics.normalize import contains
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State

Measure = Literal["recall", "mrr", "ndcg", "map", "answer"]
_ABOUT = {
    "recall": "Share of the relevant documents among the first {k}",
    "mrr": "1 / rank of the first relevant document, 0 beyond {k}",
    "ndcg": "Discounted gain of the first {k} over the best possible, linear gains (Järvelin & Kekäläinen 2002)",
    "map": "Mean precision at the ranks of the relevant documents, cut at {k}",
    "answer": "A right answer stands in one of the first {k} passages (Karpukhin et al. 2020)",
}


class Retrieval(Part):
    """Scores what was retrieved, before a later step kept some of it.

    A document's rank is that of its best passage. A cut deeper than the pipeline searches is unscored, not low.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "retrieval"

    measures: tuple[Measure, ...] = ("recall", "mrr", "ndcg")
    """Which: recall, mrr, ndcg, map, answer."""
    k: tuple[int, ...] = Field(default=(5,), min_length=1)
    """Cuts; each measure is taken at each."""

    def figures(self) -> Mapping[str, Figure]:
        """``recall@5`` and so on."""
        return {f"{measure}@{k}": Figure(_ABOUT[measure].format(k=k)) for measure in self.measures for k in self.k}

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Ranking measures need relevant documents, ``answer@k`` needs right answers."""
        asked = [record.detail["k"] for record in state.records if "k" in record.detail]
        deepest = int(asked[-1]) if asked else len(state.retrieved)
        ranking = list(dict.fromkeys(hit.chunk.document for hit in state.retrieved))
        found: dict[str, Score] = {}
        for measure in self.measures:
            if not (sample.answers if measure == "answer" else sample.relevant):
                continue
            for k in self.k:
                if not asked and not state.retrieved:
                    score = Score.unscored("the pipeline retrieves nothing")
                elif k > deepest:
                    score = Score.unscored(f"the pipeline retrieves {deepest} passages, not {k}: set steps.retrieve.k")
                elif measure == "answer":
                    score = Score(answer_at(state, sample.answers, k))
                else:
                    score = Score(_MEASURES[measure](ranking, sample.relevant, k))
                found[f"{measure}@{k}"] = score
        return found


def recall(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Share of the relevant documents among the first k."""
    many_texts(ranking, "ranking")
    return len(set(ranking[:k]) & set(relevant)) / len(relevant)


def reciprocal_rank(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """1 / rank of the first relevant document among the first k, else 0."""
    many_texts(ranking, "ranking")
    return next((1 / rank for rank, name in enumerate(ranking[:k], 1) if name in relevant), 0.0)


def ndcg(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Normalised discounted cumulative gain with linear gains, as trec_eval has it."""
    many_texts(ranking, "ranking")
    gained = sum(relevant.get(name, 0.0) / math.log2(rank + 1) for rank, name in enumerate(ranking[:k], 1))
    best = sorted(relevant.values(), reverse=True)[:k]
    return gained / sum(gain / math.log2(rank + 1) for rank, gain in enumerate(best, 1))


def average_precision(ranking: Sequence[str], relevant: Mapping[str, float], k: int) -> float:
    """Mean over all relevant documents of the precision at their ranks, 0 for those beyond k."""
    many_texts(ranking, "ranking")
    seen, total = 0, 0.0
    for rank, name in enumerate(ranking[:k], 1):
        if name in relevant:
            seen += 1
            total += seen / rank
    return total / len(relevant)


def answer_at(state: State, answers: Sequence[str], k: int) -> float:
    """1 where a right answer stands in one of the first k passages."""
    return float(any(contains(hit.chunk.text, gold) for hit in state.retrieved[:k] for gold in answers))


_MEASURES = {"recall": recall, "mrr": reciprocal_rank, "ndcg": ndcg, "map": average_precision}
