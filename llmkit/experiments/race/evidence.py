r"""Evidence that one arm is better than another, valid whenever one looks.

The items of an experiment are a finite list in random order, and every arm sees a prefix of that same order. For a pair
of arms the differences of their scores are then a sample without replacement, and a gambler who bets against
"the mean difference is at most θ" gets rich only if it is more (Waudby-Smith & Ramdas 2020, 2024)::

    x_t  = (difference_t + 1) / 2                               in [0, 1]
    m_t  = (N m - x_1 - … - x_{t-1}) / (N - t + 1)              what is left of the mean m = (θ + 1) / 2
    K_t  = K_{t-1} (1 + c (x_t / m_t - 1)),   0 < c < 1         the capital; in several c, each with its share

By Ville's inequality capital reaches 1/α with probability at most α, at any time, however the looks were chosen. When
the last item is seen nothing is left to guess: m_t falls below what can remain, and capital is infinite or lost.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

STAKES = np.array([0.1, 0.35, 0.5, 0.7, 0.95])
"""Shares of the capital that are bet: small ones win long races, large ones short ones."""
_SHARES = np.array([0.1, 0.2, 0.3, 0.2, 0.2])
_STEPS = 40


class Evidence:
    """Capital of the bets against "the mean difference is at most θ", for many pairs of arms at once."""

    def __init__(self, shape: tuple[int, ...], items: int, bound: float = 0.0) -> None:
        """Nothing seen yet.

        Args:
            shape: of the pairs.
            items: N, how many items there are in all.
            bound: θ, in [-1, 1].
        """
        self.items = items
        self._mean = (bound + 1) / 2
        self._sums = np.zeros(shape)
        self._seen = np.zeros(shape, dtype=np.int64)
        self._logs = np.zeros((*shape, len(STAKES)))
        self.peak: NDArray[np.float64] = np.zeros(shape)
        """The greatest capital along the way, a logarithm: what was once refuted stays so."""

    def see(self, differences: NDArray[np.float64], where: NDArray[np.bool_]) -> None:
        """Take in the next differences, in [-1, 1], of the pairs in `where`, which has the pairs' shape.

        A difference that is not known is given as its least possible value: evidence then only errs on the side of
        doubt.

        Args:
            differences: (n, pairs in `where`), in the order of the items.
            where: which pairs.
        """
        x = (differences + 1) / 2
        sums = self._sums[where] + np.cumsum(x, axis=0)
        left = self.items - self._seen[where] - np.arange(len(x))[:, None]
        rest = (self.items * self._mean - (sums - x)) / left
        with np.errstate(divide="ignore", invalid="ignore"):
            ratio = np.where(rest > 1e-9, x / np.maximum(rest, 1e-300), np.where(x > 1e-9, np.inf, 1.0))
        ratio[rest < -1e-9] = np.inf
        logs = self._logs[where] + np.cumsum(np.log1p(STAKES * (ratio[..., None] - 1)), axis=0)
        # more than the mean allows for all items is a refutation too
        capital = np.where(sums > self.items * self._mean + 1e-9, np.inf, _mixed(logs))
        self.peak[where] = np.maximum(self.peak[where], capital.max(axis=0))
        self._logs[where], self._sums[where] = logs[-1], sums[-1]
        self._seen[where] += len(x)

    @property
    def mean(self) -> NDArray[np.float64]:
        """Mean difference of each pair so far; 0 where nothing was seen."""
        found: NDArray[np.float64] = np.where(self._seen > 0, 2 * self._sums / np.maximum(self._seen, 1) - 1, 0.0)
        return found


def interval(differences: NDArray[np.float64], items: int, alpha: float) -> tuple[float, float]:
    """Where the mean difference over all `items` lies, given a prefix of them; wrong with probability at most alpha.

    A confidence sequence: it may be asked for after every item and holds for all of them at once.

    Args:
        differences: (seen,), in [-1, 1], in the random order of the items.
        items: how many there are in all.
        alpha: of both sides together.
    """
    return _lower(differences, items, alpha / 2), -_lower(-differences, items, alpha / 2)


def _lower(differences: NDArray[np.float64], items: int, alpha: float) -> float:
    """The largest mean that is refuted: capital falls as the mean rises, so that halving finds it."""
    refuted, open_ = -1.0, 1.0
    if not len(differences):
        return refuted
    for _ in range(_STEPS):
        middle = (refuted + open_) / 2
        if _peak(differences, items, middle) >= -np.log(alpha):
            refuted = middle
        else:
            open_ = middle
    return refuted


def _peak(differences: NDArray[np.float64], items: int, bound: float) -> float:
    """The greatest capital along the way: what was once refuted stays so."""
    x = (differences + 1) / 2
    before = np.concatenate([[0.0], np.cumsum(x)[:-1]])
    rest = (items * (bound + 1) / 2 - before) / (items - np.arange(len(x)))
    if (rest < -1e-9).any() or x.sum() > items * (bound + 1) / 2 + 1e-9:
        return np.inf
    if ((rest <= 1e-9) & (x > 1e-9)).any():
        return np.inf
    ratio = np.where(rest > 1e-9, x / np.maximum(rest, 1e-300), 1.0)
    return float(_mixed(np.cumsum(np.log1p(STAKES * (ratio[:, None] - 1)), axis=0)).max())


def _mixed(logs: NDArray[np.float64]) -> NDArray[np.float64]:
    """Logarithm of the capital in all stakes together; the last axis is theirs."""
    most = logs.max(axis=-1)
    with np.errstate(invalid="ignore"):
        mixed = most + np.log(np.exp(logs - most[..., None]) @ _SHARES)
    found: NDArray[np.float64] = np.where(np.isinf(most), np.inf, mixed)
    return found


def min_items(items: int, alpha: float) -> int:
    """How many items it takes at least to tell two arms apart: one is always right and the other never."""
    evidence = Evidence((1,), items)
    for seen in range(1, items + 1):
        evidence.see(np.ones((1, 1)), np.ones(1, dtype=np.bool_))
        if evidence.peak[0] >= -np.log(alpha):
            return seen
    return items
