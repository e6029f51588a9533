"""Figures for people: means with their intervals, never a bare number."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from llmkit.types import Figure


def number(value: float | None, unit: str = "share", *, signed: bool = False) -> str:
    """``0.612``, ``+0.031``, ``1.24 s``; a dash where there is none."""
    if value is None:
        return "-"
    sign = "+" if signed else ""
    if unit in ("share", "count"):
        return f"{value:{sign}.3f}"
    return f"{value:{sign}.4g}{' s' if unit == 'seconds' else ''}"


def interval(low: float | None, high: float | None, unit: str = "share", *, signed: bool = False) -> str:
    """``[0.58, 0.64]``, or that the data are too few."""
    if low is None or high is None:
        return "too few to say"
    return f"[{number(low, unit, signed=signed)}, {number(high, unit, signed=signed)}]"


def figure_table(metrics: Mapping[str, Mapping[str, Any]], figures: Mapping[str, Figure]) -> str:
    """One line a figure: mean, 95 % interval, samples, and what could not be scored and why."""
    rows = [("", "mean", "95 % interval", "n", "")]
    for name, found in metrics.items():
        unit = figures[name].unit if name in figures else "share"
        note = ""
        if found["unscored"]:
            reason = next(iter(found["reasons"]))
            note = f"{found['unscored']} unscored: {reason}"
        if found.get("flake"):
            note = f"{note}  differs between repeats on {found['flake']:.1%} of the samples".strip()
        span = interval(found["low"], found["high"], unit) if found["n"] else "-"
        rows.append((name, number(found["mean"], unit), span, str(found["n"]), note))
    return align_columns(rows)


def align_columns(rows: Sequence[Sequence[str]]) -> str:
    """Columns of equal width, the first to the left and the others to the right, the last as it is."""
    widths = [max(len(row[i]) for row in rows) for i in range(len(rows[0]) - 1)]
    lines = []
    for row in rows:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=False))
        ]
        lines.append("  ".join([*cells, row[-1]]).rstrip())
    return "\n".join(lines)
