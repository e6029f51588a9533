"""What a run says in all: means with intervals, counts of what is not in them, times, tokens, cost."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from llmkit.evaluation.analysis.statistics import detectable, flake_rate, mean_interval
from llmkit.evaluation.metrics.abstention import risk_coverage
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.evaluation.tasks.task import Task
from llmkit.protocols import ScoresAcrossRepeats

_BOUNDS: dict[str, tuple[float, float] | None] = {"share": (0.0, 1.0)}


class _Column:
    """One figure over the samples: repeats are averaged first."""

    def __init__(self) -> None:
        self.values: dict[str, list[float]] = {}
        self.clusters: dict[str, str] = {}
        self.reasons: Counter[str] = Counter()

    def add(self, row: Mapping[str, Any], value: float) -> None:
        self.values.setdefault(row["id"], []).append(value)
        self.clusters[row["id"]] = row["cluster"]

    def means(self) -> list[float]:
        return [float(np.mean(values)) for values in self.values.values()]


def summarise(folder: RunFolder, task: Task) -> dict[str, Any]:
    """The summary of a run, as `summary.json` holds it."""
    columns: dict[str, _Column] = defaultdict(_Column)
    status: Counter[str] = Counter()
    errors: Counter[str] = Counter()
    seconds: list[float] = []
    tokens: Counter[str] = Counter()
    costs: list[float | None] = []
    sure: list[tuple[float, bool]] = []
    for row in folder.scores():
        status[row["status"]] += 1
        if row["status"] != "ok":
            errors[row["error"]] += 1
            continue
        if not row["cached"]:
            seconds.append(row["seconds"])  # a remembered answer says nothing of how long one takes
        tokens.update({"input": row["input_tokens"], "output": row["output_tokens"], "calls": row["calls"]})
        tokens["cached"] += row["cached"]
        costs.append(row["cost"])
        for name, value in row["scores"].items():
            columns[name].add(row, value)
        for name, reason in row["unscored"].items():
            columns[name].reasons[reason] += 1
        if row["confidence"] is not None and "right_if_answered" in row["scores"]:
            sure.append((row["confidence"], row["scores"]["right_if_answered"] > 0))
    _across(task, columns)
    return {
        "n": status.total(),
        "ok": status["ok"],
        "errors": status["error"],
        "timeouts": status["timeout"],
        "failures": dict(errors.most_common(10)),
        "metrics": {name: _figure(task, name, columns[name]) for name in task.figures if name in columns},
        "detectable": detectable(len({c for column in columns.values() for c in column.clusters.values()}) or 1),
        "latency": _latency(seconds),  # of the samples whose answers were made, not remembered
        "tokens": dict(tokens),
        "cost": None if None in costs or not costs else sum(cost for cost in costs if cost is not None),
        "risk_coverage": risk_coverage([c for c, _ in sure], [r for _, r in sure], of=status["ok"]) if sure else None,
        "decides": task.decides,
    }


def _across(task: Task, columns: dict[str, _Column]) -> None:
    """Figures that need all repeats of a sample, as pass@k."""
    for metric in task.metrics:
        names = [name for name in metric.figures() if name in columns]
        if not isinstance(metric, ScoresAcrossRepeats) or not names:
            continue
        clusters = columns[names[0]].clusters
        for sample, cluster in clusters.items():
            values = {name: columns[name].values.get(sample, []) for name in names}
            for name, value in metric.across(values).items():
                columns[name].add({"id": sample, "cluster": cluster}, value)


def _figure(task: Task, name: str, column: _Column) -> dict[str, Any]:
    unscored = {"unscored": column.reasons.total(), "reasons": dict(column.reasons.most_common(5))}
    values = column.means()
    if not values:
        return {"mean": None, "low": None, "high": None, "n": 0, **unscored}
    bounds = _BOUNDS.get(task.figures[name].unit)
    interval = mean_interval(values, list(column.clusters.values()), bounds=bounds)
    return {
        "mean": interval.mean,
        "low": interval.low,
        "high": interval.high,
        "n": interval.n,
        "clusters": interval.clusters,
        "method": interval.method,
        "flake": flake_rate(list(column.values.values())),
        **unscored,
    }


def _latency(seconds: Sequence[float]) -> dict[str, float] | None:
    if not seconds:
        return None
    p50, p95 = np.quantile(seconds, [0.5, 0.95])
    return {"p50": float(p50), "p95": float(p95), "mean": float(np.mean(seconds))}
