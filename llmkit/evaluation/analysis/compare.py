"""Two runs on the same questions, sample by sample."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from llmkit import notebook
from llmkit.arguments import many_texts
from llmkit.errors import DataError, unknown
from llmkit.evaluation.analysis.statistics import Paired, holm, paired
from llmkit.evaluation.runs.run_folder import RunFolder


@dataclass(frozen=True, slots=True)
class Comparison:
    """One figure of two runs, b against a."""

    a: str
    b: str
    metric: str
    mean_a: float
    mean_b: float
    pairs: int
    """Samples that both runs scored."""
    unpaired: int
    """Samples that only one of them scored."""
    paired: Paired
    """Differences b - a, the sign as it is; wins are those where b is better."""
    p: float
    """Corrected for how many comparisons were made together (Holm 1979)."""
    better: str
    """``higher`` or ``lower``."""

    @property
    def verdict(self) -> str:
        """In words: better and worse only where the corrected p is below 0.05 and the interval excludes 0."""
        span = self.paired.difference
        if not (self.paired.wins or self.paired.losses):
            return "the same on every sample"
        if self.p >= 0.05 or span.low is None or span.high is None or span.low <= 0 <= span.high:
            return "no difference shown"
        return "better" if (span.mean > 0) == (self.better == "higher") else "worse"

    def _repr_html_(self) -> str:
        """A table for a notebook: both means, the paired difference with its interval, and the verdict."""
        span = self.paired.difference
        low, high = (None if value is None else f"{value:+.3f}" for value in (span.low, span.high))
        row = (self.metric, self.mean_a, self.mean_b, f"{span.mean:+.3f}", low, high, self.pairs, self.verdict)
        head = ("figure", self.a, self.b, "difference", "95 % from", "to", "pairs", "verdict")
        return notebook.table(head, [row])


def compare(runs: Sequence[RunFolder], metrics: Sequence[str] = ()) -> list[Comparison]:
    """Every run against the first, on every figure both have (or those named).

    Raises:
        DataError: other questions, a figure nobody has, one run given twice, or nothing scored by both.
    """
    many_texts(metrics, "metrics")
    first, *others = runs
    names = [run.path.resolve() for run in runs]
    if len(set(names)) != len(names):
        raise DataError("the same run is given twice")
    _same_questions(runs)
    shared = [
        name for name in first.run.get("metrics", {}) if all(name in run.run.get("metrics", {}) for run in others)
    ]
    for name in metrics:
        if name not in shared:
            raise DataError(unknown("figure", name, shared))
    found = [comparison for other in others for name in metrics or shared for comparison in _one(first, other, name)]
    if not found:
        raise DataError("no figure was scored on any sample by both runs")
    corrected = holm([one.paired.p for one in found])
    return [_with_p(one, p) for one, p in zip(found, corrected, strict=True)]


@dataclass(frozen=True, slots=True)
class Gate:
    """Whether a run may pass."""

    passed: bool
    why: str
    comparison: Comparison


def gate(new: RunFolder, old: RunFolder, metric: str, drop: float) -> Gate:
    """Fail where the whole interval of the difference lies beyond the drop that is allowed, or more samples fail.

    Args:
        new: the run in question.
        old: the run it must not fall behind.
        metric: figure.
        drop: how much worse it may be, at least 0.
    """
    (found,) = compare([old, new], [metric])
    sign = 1.0 if found.better == "higher" else -1.0
    span = found.paired.difference
    if span.low is None or span.high is None:
        raise DataError(f"{found.pairs} pairs are too few for an interval")
    low, high = sorted((sign * span.low, sign * span.high))
    failures = [sum(row["status"] != "ok" for row in run.scores()) for run in (old, new)]
    if high < -drop:
        return Gate(False, f"worse by more than {drop:g}: at least {-high:.3f}", found)
    if failures[1] > failures[0] and failures[1] > 0.02 * (found.pairs + failures[1]):
        return Gate(False, f"{failures[1]} samples failed, {failures[0]} before: what failed is in no mean", found)
    if low >= -drop:
        return Gate(True, f"not worse by more than {drop:g}", found)
    return Gate(
        True, f"undecided: the data allow anything from {low:+.3f} to {high:+.3f}; more samples would tell", found
    )


def differences(a: RunFolder, b: RunFolder) -> Iterator[tuple[str, Any, Any]]:
    """Where two runs were set up differently: dotted path and both values."""
    for key in ("config", "prompts", "models"):
        yield from _differences(a.run.get(key), b.run.get(key), "" if key == "config" else key)
    digests = [(run.run.get("knowledge") or {}).get("digest") for run in (a, b)]
    if digests[0] != digests[1]:
        yield "knowledge base", digests[0], digests[1]


def _differences(a: Any, b: Any, path: str) -> Iterator[tuple[str, Any, Any]]:
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        for key in dict.fromkeys([*a, *b]):
            yield from _differences(a.get(key), b.get(key), f"{path}.{key}" if path else key)
    elif isinstance(a, list) and isinstance(b, list) and len(a) == len(b):
        for n, (one, other) in enumerate(zip(a, b, strict=True)):
            yield from _differences(one, other, f"{path}[{n}]")
    elif a != b:
        yield path, a, b


def _same_questions(runs: Sequence[RunFolder]) -> None:
    digests = {run.run["dataset"]["digest"] for run in runs}
    if len(digests) > 1:
        told = "; ".join(
            f"{run.name}: {run.run['dataset']['samples']} samples, {run.run['dataset']['digest']}" for run in runs
        )
        raise DataError(f"the runs were not asked the same questions and cannot be compared ({told})")


def _one(a: RunFolder, b: RunFolder, metric: str) -> Iterator[Comparison]:
    first, second = _values(a, metric), _values(b, metric)
    both = [name for name in first if name in second]
    if not both:
        return
    values = [np.array([column[name][0] for name in both]) for column in (first, second)]
    clusters = [first[name][1] for name in both]
    figure = a.run["metrics"][metric]
    better = figure["better"]
    found = paired(values[0], values[1], clusters, bounds=(-1.0, 1.0) if figure["unit"] == "share" else None)
    if better == "lower":
        found = Paired(found.difference, found.p, found.losses, found.ties, found.wins)
    yield Comparison(
        a.name, b.name, metric, float(values[0].mean()), float(values[1].mean()), len(both),
        len(set(first) ^ set(second)), found, found.p, better,
    )  # fmt: skip


def _values(run: RunFolder, metric: str) -> dict[str, tuple[float, str]]:
    """Value (repeats averaged) and cluster by sample."""
    columns: dict[str, list[float]] = {}
    clusters: dict[str, str] = {}
    for row in run.scores():
        if metric in row["scores"]:
            columns.setdefault(row["id"], []).append(row["scores"][metric])
            clusters[row["id"]] = row["cluster"]
    return {name: (float(np.mean(values)), clusters[name]) for name, values in columns.items()}


def _with_p(one: Comparison, p: float) -> Comparison:
    return Comparison(
        one.a, one.b, one.metric, one.mean_a, one.mean_b, one.pairs, one.unpaired, one.paired, p, one.better
    )
