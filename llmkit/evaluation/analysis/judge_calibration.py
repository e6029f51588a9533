"""What a judge is worth: its scores beside those of people."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError
from llmkit.evaluation.analysis.statistics import Interval, mean_interval
from llmkit.evaluation.tasks.task import Calibration, Task, chosen_samples, select
from llmkit.extras import optional
from llmkit.pipeline.steps.answering.answer import cite_passage
from llmkit.types import Answer, Chunk, Hit, Sample, State


@dataclass(frozen=True, slots=True)
class JudgeAgreement:
    """One figure against human labels."""

    figure: str
    n: int
    """Rows that have a label and a score."""
    positive: int
    """Of them, those that people called supported."""
    unscored: int
    reasons: dict[str, int]
    auc: Interval
    """Chance that a supported row scores above an unsupported one (area under the ROC curve)."""
    agreement: Interval
    """Share of rows on which judge (score of at least 0.5) and people agree."""
    kappa: float
    """Agreement beyond chance (Cohen 1960)."""
    naive: float
    """Mean of the judge."""
    truth: float
    """Mean of the labels."""


def calibrate(task: Task) -> list[JudgeAgreement]:
    """Score the task's metrics against its labels.

    Raises:
        DataError: the task has no `calibration`, or no row can be used.
    """
    columns = task.calibration
    if columns is None:
        raise DataError(f"task {task.name} has no human labels: it needs calibration: {{passage, response, label}}")
    scores: dict[str, list[tuple[float, int, str]]] = {}
    reasons: dict[str, Counter[str]] = {}
    for sample in chosen_samples(task, select(task)):
        state, label = _judged(sample, columns)
        for metric in task.metrics:
            for name, score in metric.score(sample, state).items():
                if score.value is None:
                    reasons.setdefault(name, Counter())[score.reason] += 1
                else:
                    scores.setdefault(name, []).append((score.value, label, sample.cluster or sample.id))
    names = list(dict.fromkeys([*scores, *reasons]))
    return [_calibrated(name, scores.get(name, []), reasons.get(name, Counter())) for name in names]


def auc(scores: NDArray[np.float64], labels: NDArray[np.int64]) -> float:
    """Area under the ROC curve, ties counting half (Mann & Whitney 1947)."""
    with optional():
        from scipy.stats import rankdata

    positive = labels > 0
    many, few = int(positive.sum()), int((~positive).sum())
    if not many or not few:
        return math.nan
    return float((rankdata(scores)[positive].sum() - many * (many + 1) / 2) / (many * few))


def kappa(a: Sequence[bool], b: Sequence[bool]) -> float:
    """Agreement beyond chance of two raters (Cohen 1960); 0 where chance explains all of it."""
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    seen = float((first == second).mean())
    chance = float(first.mean() * second.mean() + (1 - first.mean()) * (1 - second.mean()))
    return (seen - chance) / (1 - chance) if chance < 1 else 0.0


def prediction_powered(
    judged: Sequence[float], judged_labelled: Sequence[float], labels: Sequence[float], level: float = 0.95
) -> tuple[float, float, float]:
    """A mean over all samples from a judge's scores and a few human labels, with its interval.

    PPI++ (Angelopoulos, Duchi & Zrnic 2023): the judge's mean, corrected by what it gets wrong where people looked, and
    weighed by how well it follows them. However bad the judge, the interval holds; the better, the narrower.

    Args:
        judged: the judge's scores of samples without a label.
        judged_labelled: its scores of those with one, which must have been chosen by chance.
        labels: the labels, in the same order.
        level: of confidence.

    Returns:
        Mean, lower and upper limit.
    """
    with optional():
        from scipy.stats import norm

    far, near = np.asarray(judged, dtype=float), np.asarray(judged_labelled, dtype=float)
    truth = np.asarray(labels, dtype=float)
    n, many = len(truth), len(far)
    if n < 2 or n != len(near):
        raise DataError("a correction needs two labels at least, each with the judge's score")
    spread = float(np.var(np.concatenate([far, near]), ddof=1))
    weight = 0.0
    if many > 1 and spread > 0:
        weight = float(np.cov(truth, near)[0, 1]) / ((1 + n / many) * spread)
    mean = float((truth - weight * near).mean() + (weight * far.mean() if many else 0.0))
    error = float(np.var(truth - weight * near, ddof=1)) / n
    if many > 1:
        error += weight**2 * float(np.var(far, ddof=1)) / many
    half = float(norm.ppf(0.5 + level / 2)) * math.sqrt(error)
    return mean, mean - half, mean + half


def _judged(sample: Sample, columns: Calibration) -> tuple[State, int]:
    """The state a pipeline would have left with this response, and what people said of it."""
    row = sample.fields
    try:
        passage, response, label = str(row[columns.passage]), str(row[columns.response]), row[columns.label]
    except KeyError as error:
        raise DataError(f"sample {sample.id} has no column {error}") from error
    if label not in (0, 1, "0", "1", True, False):
        raise DataError(f"sample {sample.id}: a label is 1 (supported) or 0, not {label!r}")
    hit = Hit(Chunk(sample.id, 0, 0, len(passage), passage, 0), 1.0)
    answer = Answer(response, (cite_passage(1, hit),))
    return State(sample.question, hits=(hit,), retrieved=(hit,), answer=answer), int(label)


def _calibrated(name: str, rows: Sequence[tuple[float, int, str]], reasons: Counter[str]) -> JudgeAgreement:
    if not rows:
        raise DataError(f"{name} scored no row: {', '.join(reasons)}")
    scores = np.array([score for score, _, _ in rows])
    labels = np.array([label for _, label, _ in rows], dtype=np.int64)
    clusters = [cluster for _, _, cluster in rows]
    verdicts = scores >= 0.5
    return JudgeAgreement(
        name,
        len(rows),
        int(labels.sum()),
        reasons.total(),
        dict(reasons.most_common(5)),
        _auc_interval(scores, labels, clusters),
        mean_interval((verdicts == (labels > 0)).astype(float), clusters),
        kappa(verdicts.tolist(), (labels > 0).tolist()),
        float(scores.mean()),
        float(labels.mean()),
    )


def _auc_interval(scores: NDArray[np.float64], labels: NDArray[np.int64], clusters: Sequence[str]) -> Interval:
    """Percentile bootstrap over clusters."""
    found = auc(scores, labels)
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    groups = [np.flatnonzero(index == group) for group in range(int(index.max()) + 1)]
    if math.isnan(found) or len(groups) < 2:
        return Interval(found, None, None, len(scores), len(groups), "too few to say")
    rng = np.random.default_rng(0)
    drawn = []
    for _ in range(1000):
        rows = np.concatenate([groups[i] for i in rng.integers(0, len(groups), len(groups))])
        value = auc(scores[rows], labels[rows])
        if not math.isnan(value):
            drawn.append(value)
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(found, float(low), float(high), len(scores), len(groups), "bootstrap")
