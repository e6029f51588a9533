"""Groundedness against people: ROC-AUC of the shipped score, of each feature and of a learned combination.

    python benchmarks/groundedness.py [--data FOLDER] [--rounds 2000]

The data sets are looked for in LLMKIT_DATA, then ../shared/data: BEGIN (Dziri et al. 2022, three parts: wow and cmu
CC BY 4.0, topicalchat CDLA-Sharing-1.0) and SummEdits (Laban et al. 2023, Apache-2.0), scitldr and qmsumm. Intervals
are percentile bootstraps over contexts: the 466 summaries of scitldr share 17 contexts, the 431 of qmsumm 16.

The learned combination is a logistic regression with weights that cannot be negative, so that more support never
scores less; data sets and labels weigh the same. It is fitted on what it is not scored on: on the other two data sets,
or on four fifths of the contexts of the same one. "single, picked" is the feature with the best mean AUC on the very
rows the regression was fitted on. "order" is the longest common subsequence alone.

Nothing is fitted in the shipped score, but its form was chosen with these three data sets in view: its own figures are
those of a development set.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
from collections.abc import Callable
from pathlib import Path

import numpy as np
from scipy.optimize import minimize
from scipy.stats import rankdata

from llmkit.encoders.local import LocalEncoder
from llmkit.grounding.groundedness import FEATURES, Groundedness, features_many

SETS = ("begin-dev", "summedits-scitldr", "summedits-qmsumm")
PENALTY = 0.01
Scorer = Callable[[np.ndarray], np.ndarray]


class Set:
    """One data set: features, labels, contexts, the shipped score."""

    def __init__(self, folder: Path, name: str, encoder: LocalEncoder) -> None:
        with gzip.open(folder / "judge" / name / "items.jsonl.gz", "rt", encoding="utf-8") as lines:
            rows = [json.loads(line) for line in lines]
        items = [(row["context"], row["query"], row["response"]) for row in rows]
        self.name = name
        self.x = features_many(items, encoder)
        self.y = np.array([row["label"] for row in rows])
        self.context = np.unique([row["context"] for row in rows], return_inverse=True)[1]
        self.part = np.array([row["id"].split("-")[1] for row in rows])
        self.shipped = Groundedness().score_many(items)


def auc(y: np.ndarray, score: np.ndarray) -> float:
    """Area under the ROC curve, from ranks (Hanley & McNeil 1982); ties count half."""
    ranks, good = rankdata(score), int(y.sum())
    return float((ranks[y == 1].sum() - good * (good + 1) / 2) / (good * (len(y) - good)))


def learn(parts: list[tuple[np.ndarray, np.ndarray]]) -> np.ndarray:
    """Weights and, last, intercept."""
    x = np.vstack([np.c_[part, np.ones(len(part))] for part, _ in parts])
    sign = 2.0 * np.concatenate([y for _, y in parts]) - 1.0
    weight = np.concatenate([np.where(y == 1, 0.5 / y.sum(), 0.5 / (1 - y).sum()) / len(parts) for _, y in parts])

    def loss(w: np.ndarray) -> tuple[float, np.ndarray]:
        margin, kept = sign * (x @ w), np.r_[w[:-1], 0.0]
        slope = -(weight * sign * np.exp(-np.logaddexp(0.0, margin)))
        return float(weight @ np.logaddexp(0.0, -margin) + PENALTY / 2 * kept @ kept), slope @ x + PENALTY * kept

    bounds = [(0.0, None)] * (x.shape[1] - 1) + [(None, None)]
    return minimize(loss, np.zeros(x.shape[1]), jac=True, method="L-BFGS-B", bounds=bounds).x


def learned(parts: list[tuple[np.ndarray, np.ndarray]]) -> Scorer:
    weights = learn(parts)
    return lambda x: x @ weights[:-1] + weights[-1]


def impersonal(parts: list[tuple[np.ndarray, np.ndarray]]) -> Scorer:
    """Learned without the feature that sees chat: who speaks, and whether he asks."""
    kept = [column for column, name in enumerate(FEATURES) if name != "third_person"]
    score = learned([(x[:, kept], y) for x, y in parts])
    return lambda x: score(x[:, kept])


def picked(parts: list[tuple[np.ndarray, np.ndarray]]) -> Scorer:
    means = [np.mean([auc(y, x[:, column]) for x, y in parts]) for column in range(len(FEATURES))]
    return lambda x: x[:, int(np.argmax(means))]


def folds(data: Set, make: Callable[[list[tuple[np.ndarray, np.ndarray]]], Scorer], groups: np.ndarray) -> np.ndarray:
    """Every row scored by what was fitted without its group."""
    out = np.empty(len(data.y))
    for group in np.unique(groups):
        test = groups == group
        out[test] = make([(data.x[~test], data.y[~test])])(data.x[test])
    return out


def five(data: Set) -> np.ndarray:
    """A fold from 0 to 4 for each row; rows of one context share it; folds are filled evenly, largest context first."""
    sizes = np.bincount(data.context)
    fold, filled = np.empty(len(sizes), dtype=int), np.zeros(5, dtype=int)
    for context in np.argsort(-sizes, kind="stable"):
        fold[context] = np.argmin(filled)
        filled[fold[context]] += sizes[context]
    return fold[data.context]


def resamples(data: Set, scores: dict[str, np.ndarray], rounds: int) -> np.ndarray:
    """AUC of each score on resampled contexts, shape (rounds, len(scores)); the same resamples for every score."""
    rng = np.random.default_rng(0)
    members = [np.flatnonzero(data.context == context) for context in range(data.context.max() + 1)]
    out = []
    while len(out) < rounds:
        rows = np.concatenate([members[context] for context in rng.integers(0, len(members), len(members))])
        if 0 < data.y[rows].sum() < len(rows):
            out.append([auc(data.y[rows], score[rows]) for score in scores.values()])
    return np.array(out)


def table(data: Set, scores: dict[str, np.ndarray], rounds: int) -> None:
    """A line for each score: AUC, whether its interval excludes 0.5, and the paired difference from `order`."""
    drawn = resamples(data, scores, rounds)
    base = list(scores).index("order")
    for column, (name, score) in enumerate(scores.items()):
        low, high = np.percentile(drawn[:, column], [2.5, 97.5])
        says = "above chance" if low > 0.5 else "BELOW chance" if high < 0.5 else "not told from chance"
        gap = drawn[:, column] - drawn[:, base]
        near, far = np.percentile(gap, [2.5, 97.5])
        against = (
            ""
            if column == base
            else f"  order {auc(data.y, score) - auc(data.y, scores['order']):+.3f} [{near:+.3f}, {far:+.3f}]"
        )
        print(f"  {name:<44} {auc(data.y, score):.3f} [{low:.3f}, {high:.3f}] {says:<21}{against}", flush=True)


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    here = Path(__file__).resolve().parent.parent
    arguments.add_argument(
        "--data", type=Path, default=os.environ.get("LLMKIT_DATA") or here.parent / "shared" / "data"
    )
    arguments.add_argument("--rounds", type=int, default=2000)
    given = arguments.parse_args()
    encoder = LocalEncoder()
    print(encoder.identity)
    sets = [Set(Path(given.data), name, encoder) for name in SETS]
    for data in sets:
        print(f"\n{data.name}: {len(data.y)} responses, {data.y.sum()} supported, {data.context.max() + 1} contexts")
        others = [(other.x, other.y) for other in sets if other is not data]
        split = five(data)
        scores = {
            "order": data.x[:, FEATURES.index("order")],
            "shipped (nothing fitted)": data.shipped,
            "learned, other two data sets": learned(others)(data.x),
            "single, picked on the other two": picked(others)(data.x),
            "learned, 5 folds by context": folds(data, learned, split),
            "single, picked, 5 folds by context": folds(data, picked, split),
        }
        if data.name == "begin-dev":
            scores["learned, other two parts of begin"] = folds(data, learned, data.part)
            scores["the same without third_person"] = folds(data, impersonal, data.part)
        table(data, scores, given.rounds)
        print("  each feature, as it stands:")
        table(data, {name: data.x[:, column] for column, name in enumerate(FEATURES)}, given.rounds)
    weights = learn([(data.x, data.y) for data in sets])
    print(
        "\nlearned on all three:",
        *(f"{name} {w:.2f}" for name, w in zip((*FEATURES, "intercept"), weights, strict=True)),
    )


if __name__ == "__main__":
    main()
