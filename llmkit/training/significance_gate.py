"""Adopt only what helps beyond doubt: a candidate replaces what is in use after a paired comparison, or not at all.

Two conditions, both on held-out questions, clusters (documents) kept whole:

* the 95 % interval of the mean gain lies above zero, and
* the permutation test over clusters says p < 0.05, corrected for how many candidates were tried on these questions.

The interval alone is not enough: three wins and no loss in fifty have a bootstrap interval above zero, and come by
chance one time in eight.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from llmkit.errors import DataError
from llmkit.evaluation.analysis.statistics import Paired, detectable, paired

LEVEL = 0.05


@dataclass(frozen=True, slots=True)
class Verdict:
    """What the gate decided, and on what."""

    adopted: bool
    figure: str
    """What was compared, as in ``MRR@10``; between 0 and 1, higher is better."""
    old: float
    new: float
    comparison: Paired
    p: float
    """Corrected for the number of candidates tried."""
    detectable: float
    """The least true gain that this many questions find four times in five."""

    def __str__(self) -> str:
        """The decision in words."""
        gain = self.comparison.difference
        interval = "too few to say" if gain.low is None else f"95 % interval {gain.low:+.3f} to {gain.high:+.3f}"
        counts = f"{self.comparison.wins} better, {self.comparison.ties} equal, {self.comparison.losses} worse"
        told = (
            f"{self.figure} {self.old:.3f} → {self.new:.3f}: {gain.mean:+.3f} ({interval}, p = {self.p:.3f}; {counts}; "
            f"{gain.n} questions in {gain.clusters} clusters)"
        )
        if self.adopted:
            return f"adopted: {told}"
        return (
            f"not adopted, the old one stays: {told}. A true gain of {self.detectable:.3f} or more would be found four "
            f"times in five with this many questions"
        )


def judge(
    old: Sequence[float],
    new: Sequence[float],
    clusters: Sequence[str] | None = None,
    *,
    figure: str = "MRR@10",
    tried: int = 1,
    seed: int = 0,
) -> Verdict:
    """Whether the candidate is adopted.

    Args:
        old: the figure of what is in use, one a question.
        new: of the candidate, on the same questions in the same order.
        clusters: what questions share, as their document; none: each stands alone.
        figure: its name.
        tried: candidates that were judged on these questions so far, this one included.
        seed: of the permutations.

    Raises:
        DataError: no questions, or values that are not between 0 and 1.
    """
    values = np.array([old, new], dtype=float)
    if values.size == 0:
        raise DataError("the gate needs held-out questions: there are none")
    if not (np.isfinite(values).all() and values.min() >= 0 and values.max() <= 1):
        raise DataError(f"{figure} must lie between 0 and 1 on every question")
    comparison = paired(values[0], values[1], clusters, seed=seed)
    p = min(1.0, comparison.p * max(1, tried))
    low = comparison.difference.low
    differences = values[1] - values[0]
    return Verdict(
        adopted=low is not None and low > 0 and p < LEVEL,
        figure=figure,
        old=float(values[0].mean()),
        new=float(values[1].mean()),
        comparison=comparison,
        p=p,
        detectable=detectable(comparison.difference.clusters, float(differences.std()) or 0.5),
    )
