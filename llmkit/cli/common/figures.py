"""Scores as text: means with their confidence intervals, in aligned columns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.types import Figure


def number(value: float | None, unit: str = "share", *, signed: bool = False) -> str:
    """``0.612``, ``+0.031``, ``1.24 s``; a dash for None."""
    if value is None:
        return "-"
    sign = "+" if signed else ""
    if unit in ("share", "count"):
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.4g}{' s' if unit == 'seconds' else ''}"


def interval(low: float | None, high: float | None, unit: str = "share", *, signed: bool = False) -> str:
    """``[0.58, 0.64]``, or a remark that there are too few samples for an interval."""
    if low is None or high is None:
        return "too few to say"
    return f"[{number(low, unit, signed=signed)}, {number(high, unit, signed=signed)}]"


def figure_table(metrics: Mapping[str, Mapping[str, Any]], figures: Mapping[str, Figure]) -> str:
    """One line for each figure: mean, 95 % interval, number of samples, and how many were not scored and why."""
    rows = [("", "mean", "95 % interval", "n", "")]
    for name, score in metrics.items():
        unit = figures[name].unit if name in figures else "share"
        note = ""
        if score["unscored"]:
            reason = next(iter(score["reasons"]))
            note = f"{score['unscored']} unscored: {reason}"
        if score.get("flake"):
            note = f"{note}  differs between repeats on {score['flake']:.1%} of the samples".strip()
        span = interval(score["low"], score["high"], unit) if score["n"] else "-"
        rows.append((name, number(score["mean"], unit), span, str(score["n"]), note))
    return align_columns(rows)


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Rows as lines of columns: the first is left-aligned, the last is not padded, the others are right-aligned."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)
