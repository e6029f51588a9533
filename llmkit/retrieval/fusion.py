"""Several rankings into one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

Ranking = tuple[NDArray[np.int64], NDArray[np.float32]]
"""Rows and scores, best first."""


def reciprocal_rank(rankings: Sequence[Ranking], weights: Sequence[float], constant: float = 60.0) -> dict[int, float]:
    """Reciprocal rank fusion: the sum of ``weight / (constant + rank)`` (Cormack, Clarke & Büttcher 2009).

    Ranks count from 1. A row that a ranking does not hold gets nothing from it.
    """
    fused: dict[int, float] = {}
    for (rows, _), weight in zip(rankings, weights, strict=True):
        for rank, row in enumerate(rows.tolist(), 1):
            fused[row] = fused.get(row, 0.0) + weight / (constant + rank)
    return fused


def weighted(rankings: Sequence[Ranking], weights: Sequence[float]) -> dict[int, float]:
    """The weighted sum of scores, each ranking scaled to [0, 1] by its own least and greatest score.

    A row that a ranking does not hold counts as its least score: it was not among the best. Where all scores of a
    ranking are equal they count as 1.
    """
    fused: dict[int, float] = {}
    for (rows, scores), weight in zip(rankings, weights, strict=True):
        if len(rows) == 0:
            continue
        low, high = float(scores.min()), float(scores.max())
        scaled = (scores - low) / (high - low) if high > low else np.ones_like(scores)
        for row, value in zip(rows.tolist(), scaled.tolist(), strict=True):
            fused[row] = fused.get(row, 0.0) + weight * value
    return fused


def ordered(fused: Mapping[int, float], k: int) -> list[tuple[int, float]]:
    """The k best (row, score), best first; equal scores in order of row, so that a run repeats itself."""
    return sorted(fused.items(), key=lambda item: (-item[1], item[0]))[:k]
