"""A threshold of confidence such that few of the answers given are wrong: Learn then Test.

Angelopoulos, Bates, Candès, Jordan & Lei 2021 (arXiv 2110.01052), fixed-sequence testing with exact binomial p-values::

    questions ──shuffle──> a quarter: thresholds to test, and where to begin     (labels may be looked at)
                └────────> the rest: from there downwards, "more than `error` of its answers are wrong" is tested
                           at level 1 - confidence until it is not rejected; the last one rejected is taken

The order of tests is fixed before the rest is looked at, so however many are made, one false rejection at all has at
most the probability 1 - confidence. Nothing is assumed of the confidence, not even that surer answers are righter.
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError, unknown
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.extras import optional

_TUNED = 0.25
_STEPS = 50  # thresholds that are looked at
Numbers = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Outcome:
    """One calibration question."""

    confidence: float | None
    """None: the pipeline gave no answer."""
    wrong: bool


@dataclass(frozen=True, slots=True)
class LearnedThreshold:
    """What the calibration questions allow."""

    threshold: float | None
    """None: nothing may be answered."""
    asked: int
    answered: int
    wrong: int
    """All three on the questions that were tested on."""
    tuned: int
    needed: int


@dataclass(frozen=True, slots=True)
class LabelledRun:
    """The outcomes of a run, and what of it is not among them."""

    outcomes: list[Outcome]
    failed: int
    """Samples that failed: nothing is promised of them."""
    unscored: int
    """Answers without a score: counted as wrong."""
    grouped: int
    """Samples left out because another one of their cluster was drawn."""


def outcomes(run: RunFolder, figure: str, seed: int = 0) -> LabelledRun:
    """The calibration questions of a run: one of each cluster, drawn by chance, since they have to be independent.

    Raises:
        DataError: no such figure, or answers without a confidence.
    """
    if figure not in run.run["metrics"]:
        raise DataError(unknown("figure", figure, run.run["metrics"]))
    by_cluster: dict[str, list[dict[str, Any]]] = {}
    failed = 0
    for row in run.scores():
        if row["status"] != "ok":
            failed += 1
        elif row["repeat"] == 0:
            by_cluster.setdefault(row["cluster"], []).append(row)
    chance = random.Random(seed)  # noqa: S311
    found: list[Outcome] = []
    unscored = 0
    for rows in by_cluster.values():
        row = chance.choice(rows)
        if not row["answered"]:
            found.append(Outcome(None, wrong=False))
            continue
        if row["confidence"] is None:
            raise DataError(f"sample {row['id']}: no step says how sure it is; extract and self-consistency do")
        score = row["scores"].get(figure)
        unscored += score is None
        found.append(Outcome(row["confidence"], wrong=score is None or score < 0.5))
    return LabelledRun(found, failed, unscored, sum(len(rows) - 1 for rows in by_cluster.values()))


def learn(found: Sequence[Outcome], error: float, confidence: float, seed: int = 0) -> LearnedThreshold:
    """The lowest threshold that keeps the promise, or none.

    Args:
        found: calibration questions, drawn as those to come will be.
        error: share of wrong answers among those given that must not be exceeded.
        confidence: probability with which that has to hold.
        seed: of the shuffle.
    """
    order = list(range(len(found)))
    random.Random(seed).shuffle(order)  # noqa: S311
    cut = round(_TUNED * len(order))
    tuning, testing = [[found[i] for i in part] for part in (order[:cut], order[cut:])]
    needed = math.ceil(math.log(1 - confidence) / math.log(1 - error))
    thresholds = _sequence(tuning, len(testing), error)
    answered, wrong = _counts(testing, thresholds)
    kept = p_values(wrong, answered, error) <= 1 - confidence
    passed = int(np.argmin(np.append(kept, False)))  # up to the first that is not rejected
    if passed == 0:
        return LearnedThreshold(None, len(testing), 0, 0, cut, needed)
    at = passed - 1
    return LearnedThreshold(float(thresholds[at]), len(testing), int(answered[at]), int(wrong[at]), cut, needed)


def p_values(wrong: Counts, answered: Counts, error: float) -> Numbers:
    """Probability of so few wrong answers, were the share of wrong ones `error`; 1 where nothing is answered."""
    with optional():
        from scipy.special import bdtr

    values: Numbers = np.where(answered > 0, bdtr(wrong, np.maximum(answered, 1), error), 1.0)
    return values


def upper(wrong: int, answered: int, confidence: float) -> float:
    """Clopper & Pearson's (1934) upper limit of the share of wrong answers, one-sided."""
    with optional():
        from scipy.stats import beta

    return float(beta.ppf(confidence, wrong + 1, answered - wrong)) if wrong < answered else 1.0


def _sequence(tuning: Sequence[Outcome], testing: int, error: float) -> Numbers:
    """Thresholds in the order of their tests: from the one that looks easiest to show, downwards."""
    scores = [one.confidence for one in tuning if one.confidence is not None]
    if not scores:
        return np.array([])
    grid: Numbers = np.unique(np.quantile(scores, np.linspace(0, 1, _STEPS + 1), method="inverted_cdf"))[::-1]
    answered, wrong = _counts(tuning, grid)
    hoped = answered * testing // len(tuning)
    share = (wrong + 0.5) / (answered + 1)
    hopes = p_values((share * hoped).astype(np.int64), hoped, error)
    return grid[int(np.argmin(hopes)) :]


def _counts(found: Sequence[Outcome], thresholds: Numbers) -> tuple[Counts, Counts]:
    """For each threshold: answers it gives, and wrong ones among them."""
    given = sorted((one.confidence, one.wrong) for one in found if one.confidence is not None)
    scores = np.array([score for score, _ in given], dtype=float)
    wrong = np.append(np.cumsum([one for _, one in reversed(given)], dtype=np.int64)[::-1], 0)
    first = np.searchsorted(scores, thresholds, side="left")
    return len(scores) - first, wrong[first]
