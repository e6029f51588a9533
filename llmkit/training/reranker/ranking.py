"""The figure that a reranker is judged by: the reciprocal rank of the first right passage."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from llmkit.training.data.rerank_candidates import Group


def mrr(groups: Sequence[Group], scores: Sequence[Any], k: int = 10) -> float:
    """Mean reciprocal rank of the first right passage; 0 for a question whose right passage was not retrieved."""
    return float(np.mean(reciprocal_ranks(groups, scores, k)))


def reciprocal_ranks(groups: Sequence[Group], scores: Sequence[Any], k: int = 10) -> list[float]:
    """The reciprocal rank of each question.

    Args:
        groups: questions with their candidate passages.
        scores: an array for each question, one score for each passage; higher is better.
        k: a right passage below this rank counts 0.
    """
    ranks = []
    for group, value in zip(groups, scores, strict=True):
        order = np.argsort(-np.asarray(value), kind="stable")[:k]
        rank = next((rank for rank, i in enumerate(order, 1) if group.right[i]), None) if group.found else None
        ranks.append(1.0 / rank if rank else 0.0)
    return ranks
