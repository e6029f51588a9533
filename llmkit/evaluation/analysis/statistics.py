"""What a sample of questions says about all questions: intervals, paired tests, corrections, power.

Samples that share a document are not independent: they enter as clusters, whole (Cameron, Gelbach & Miller 2008).
A value that stands alone is its own cluster.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from llmkit.arguments import many_texts
from llmkit.extras import optional

LEVEL = 0.95
_ROUNDS = 4000
_FEW = 40  # clusters below which the bootstrap of a mean is too narrow
Values = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Interval:
    """A mean and where the mean over all questions lies, with 95 % confidence."""

    mean: float
    low: float | None
    """None where the data cannot say: one value, or one cluster."""
    high: float | None
    n: int
    clusters: int
    method: str


def mean_interval(
    values: Sequence[float] | Values,
    clusters: Sequence[str] | None = None,
    *,
    bounds: tuple[float, float] | None = (0.0, 1.0),
    level: float = LEVEL,
) -> Interval:
    """Interval of a mean.

    Zeros and ones that stand alone: Wilson's score interval (1927). Values that are all the same, within `bounds`: as
    far as the share that differs, unseen, can move the mean by Wilson's upper limit for none of n. Fewer than 40
    clusters: Student's t over clusters. Otherwise: the bias-corrected and accelerated bootstrap (Efron 1987) over
    clusters, up to 2,000 of them, and the percentile bootstrap beyond.

    Args:
        values: one a sample, at least one.
        clusters: a name for each value; equal names belong together.
        bounds: least and greatest possible value, or None.
        level: of confidence.
    """
    if clusters is not None:
        many_texts(clusters, "clusters")
    data = np.asarray(values, dtype=float)
    n = len(data)
    mean = float(data.mean())
    sums, counts = _by_cluster(data, clusters)
    groups = len(sums)
    if groups < 2:
        return Interval(mean, None, None, n, groups, "too few to say")
    if bounds is not None and (data == data[0]).all():
        unseen = wilson(0, groups, level)[1]
        low, high = mean - unseen * (mean - bounds[0]), mean + unseen * (bounds[1] - mean)
        return Interval(mean, low, high, n, groups, "wilson")
    if groups == n and bounds == (0.0, 1.0) and np.isin(data, (0.0, 1.0)).all():
        low, high = wilson(int(data.sum()), n, level)
        return Interval(mean, low, high, n, groups, "wilson")
    if groups < _FEW:
        low, high = _student(sums, counts, mean, level)
        method = "t over clusters"
    else:
        low, high = _bootstrap(sums, counts, level)
        method = "bootstrap" if groups > 2000 else "bootstrap bca"
    if bounds is not None:
        low, high = max(low, bounds[0]), min(high, bounds[1])
    return Interval(mean, low, high, n, groups, method)


def wilson(successes: int, n: int, level: float = LEVEL) -> tuple[float, float]:
    """Wilson's score interval of a share."""
    with optional():
        from scipy.stats import binomtest

    found = binomtest(successes, n).proportion_ci(level, method="wilson")
    return float(found.low), float(found.high)


@dataclass(frozen=True, slots=True)
class Paired:
    """The difference of two systems on the same samples, b minus a."""

    difference: Interval
    p: float
    """Two-sided, from flipping the signs of the clusters' differences; 1.0 where nothing differs."""
    wins: int
    ties: int
    losses: int
    """Samples on which b is better, equal, worse; higher is taken as better."""


def paired(
    a: Sequence[float] | Values,
    b: Sequence[float] | Values,
    clusters: Sequence[str] | None = None,
    *,
    bounds: tuple[float, float] | None = (-1.0, 1.0),
    level: float = LEVEL,
    seed: int = 0,
) -> Paired:
    """Compare two systems sample by sample.

    The p-value is that of Fisher's permutation test (1935) over clusters: if the systems were equal, each cluster's
    difference could as well have had the other sign.
    """
    if clusters is not None:
        many_texts(clusters, "clusters")
    first, second = np.asarray(a, dtype=float), np.asarray(b, dtype=float)
    if len(first) != len(second):
        raise ValueError(f"pairs need two values each: {len(first)} and {len(second)}")
    differences = second - first
    p = 1.0
    if np.any(differences):
        p = _sign_flip(_by_cluster(differences, clusters)[0], seed)
    return Paired(
        mean_interval(differences, clusters, bounds=bounds, level=level),
        p,
        wins=int((differences > 0).sum()),
        ties=int((differences == 0).sum()),
        losses=int((differences < 0).sum()),
    )


def holm(p: Sequence[float]) -> list[float]:
    """p-values corrected for how many were looked at (Holm 1979)."""
    order = sorted(range(len(p)), key=lambda i: p[i])
    corrected, least = [0.0] * len(p), 0.0
    for rank, i in enumerate(order):
        least = max(least, min(1.0, (len(p) - rank) * p[i]))
        corrected[i] = least
    return corrected


def detectable(n: int, deviation: float = 0.5, *, power: float = 0.8, level: float = LEVEL) -> float:
    """Smallest true difference that a paired comparison of n independent samples finds with this power.

    Args:
        n: samples, or clusters.
        deviation: standard deviation of one sample's difference. 0.5: two systems that disagree on a quarter of
            the questions, all or nothing.
        power: chance of finding it.
        level: of confidence.
    """
    with optional():
        from scipy.stats import norm

    return float((norm.ppf(0.5 + level / 2) + norm.ppf(power)) * deviation / math.sqrt(n))


def flake_rate(outcomes: Sequence[Sequence[float]]) -> float | None:
    """Share of samples whose repeats do not all agree; None where nothing was repeated."""
    repeated = [values for values in outcomes if len(values) > 1]
    return sum(len(set(values)) > 1 for values in repeated) / len(repeated) if repeated else None


def _by_cluster(data: Values, clusters: Sequence[str] | None) -> tuple[Values, Values]:
    """Sum and count of each cluster."""
    if clusters is None:
        return data, np.ones(len(data))
    _, index = np.unique(np.asarray(clusters), return_inverse=True)
    return np.bincount(index, weights=data).astype(np.float64), np.bincount(index).astype(np.float64)


def _student(sums: Values, counts: Values, mean: float, level: float) -> tuple[float, float]:
    with optional():
        from scipy.stats import t

    groups = len(sums)
    residuals = sums - counts * mean
    error = math.sqrt(groups / (groups - 1) * float((residuals**2).sum())) / float(counts.sum())
    half = float(t.ppf(0.5 + level / 2, groups - 1)) * error
    return mean - half, mean + half


def _bootstrap(sums: Values, counts: Values, level: float) -> tuple[float, float]:
    with optional():
        from scipy.stats import bootstrap

    def ratio(total: Values, size: Values, axis: int = -1) -> Values:
        return np.asarray(total.sum(axis=axis) / size.sum(axis=axis))

    found = bootstrap(
        (sums, counts),
        ratio,
        paired=True,
        vectorized=True,
        n_resamples=_ROUNDS,
        batch=max(1, int(4e6) // len(sums)),
        confidence_level=level,
        method="percentile" if len(sums) > 2000 else "BCa",
        rng=np.random.default_rng(0),
    ).confidence_interval
    return float(found.low), float(found.high)


def _sign_flip(differences: Values, seed: int) -> float:
    with optional():
        from scipy.stats import permutation_test

    def mean(values: Values, axis: int = -1) -> Values:
        return np.asarray(values.mean(axis=axis))

    moved = differences[differences != 0]
    if len(moved) < 2:
        return 1.0  # one difference alone could as well have had the other sign
    found = permutation_test(
        (moved,),
        mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=9999,
        batch=max(1, int(4e6) // len(moved)),
        rng=np.random.default_rng(seed),
    )
    return float(found.pvalue)
