"""What a measured recall says of the recall that was not measured: a lower confidence bound, and where it is from."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

CONFIDENCE = 0.95
K = 10
"""Recall is that of the ten nearest."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """How an index searches, and how well: what stands beside it in the catalogue."""

    structure: str
    """flat, ivf or hnsw."""
    codes: str
    bytes_per_vector: float
    """Of the index: codes, ids, its share of centroids or links. The single-precision vectors stay on disk."""
    recall: float
    """Mean recall@10 on held-out queries, against the exact neighbours."""
    lower: float
    """One-sided 95 % lower confidence bound of it."""
    queries: int
    """How many it was measured on; none of them chose the index."""
    source: str
    """Where those queries came from."""
    target: float
    depth: int = 0
    """Rows scored again in single precision for a query of k ≤ 10."""
    probes: int = 0
    """Lists looked into (ivf), or nodes kept on the way (hnsw)."""
    lists: int = 0
    milliseconds: float = 0.0
    """Median of one query alone, on the machine that built it."""
    certified: bool = True
    """Whether the bound reaches the target."""

    def dumps(self) -> str:
        """As JSON."""
        return json.dumps(asdict(self))

    @classmethod
    def loads(cls, text: str) -> Certificate:
        """From JSON."""
        values: dict[str, Any] = json.loads(text)
        return cls(**values)


def lower_bound(values: NDArray[np.float64], error: float = 1 - CONFIDENCE) -> float:
    """The one-sided lower confidence bound of the mean of values in [0, 1], valid for any such distribution.

    Betting on the values one after the other: a mean m is ruled out once the wealth of a gambler who bets that the
    values exceed it has grown 1/error-fold, which happens with probability below `error` if m is the mean
    (Waudby-Smith & Ramdas 2024, "Estimating means of bounded random variables by betting", section 4). Narrow where
    values hardly vary, unlike bounds that know the range alone, and never overconfident, unlike a bootstrap of
    values that are all one.
    """
    n = len(values)
    if n == 0:
        return 0.0
    before = np.arange(1, n + 1)
    mean = (0.5 + np.cumsum(values)) / (before + 1)
    variance = (0.25 + np.cumsum((values - mean) ** 2)) / (before + 1)
    past = np.concatenate([[0.25], variance[:-1]])  # a bet knows only the values before it
    stake = np.sqrt(2 * np.log(1 / error) / (n * past))
    low, high = 0.0, 1.0
    for _ in range(40):  # wealth falls as m rises, so the bound is where it crosses
        m = (low + high) / 2
        bets = np.minimum(stake, 0.75 / max(m, 1e-9))
        if np.log1p(bets * (values - m)).sum() >= np.log(1 / error):
            low = m
        else:
            high = m
    return low


def describe(certificate: Certificate) -> str:
    """One line for people."""
    one = certificate
    if one.structure == "flat":
        return f"searched exactly: a scan of half-precision codes, {one.bytes_per_vector:.0f} bytes each"
    where = f"{one.probes} of {one.lists} lists" if one.structure == "ivf" else f"a beam of {one.probes}"
    return (
        f"searched through {one.structure}/{one.codes}, {one.bytes_per_vector:.0f} bytes each: recall@10 "
        f"{one.recall:.4f}, at least {one.lower:.4f} with 95 % confidence, on {one.queries} {one.source} that had no "
        f"part in making it ({where}, {one.depth} scored again)"
    )
