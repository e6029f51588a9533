"""Charts as inline SVG: means with whiskers, curves, histograms, bars. Colours come from the page's style sheet."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

Point = tuple[float, float]
_LABEL, _WIDTH, _ROW = 190, 640, 22


def whiskers(rows: Sequence[tuple[str, int, float, float | None, float | None]]) -> str:
    """Means with their intervals on one scale from 0 to 1.

    Args:
        rows: label, number of the run (its colour), mean, low, high.
    """
    height = _ROW * len(rows) + 24
    parts = [_grid(height)]
    for n, (label, series, mean, low, high) in enumerate(rows):
        y = _ROW * n + 14
        if label:
            parts.append(f'<text class="name" x="{_LABEL - 10}" y="{y + 4}">{escape(label)}</text>')
        if low is not None and high is not None:
            parts.append(f'<line class="s{series}" x1="{_x(low)}" x2="{_x(high)}" y1="{y}" y2="{y}"/>')
        label = f"{mean:.3f}" if low is None or high is None else f"{mean:.3f} [{low:.3f}, {high:.3f}]"
        parts.append(f'<circle class="s{series}" cx="{_x(mean)}" cy="{y}" r="4.5"><title>{label}</title></circle>')
    return _svg(height, "Means with 95 % intervals", parts)


def differences(rows: Sequence[tuple[str, float, float | None, float | None]]) -> str:
    """Differences with their intervals around a line at zero."""
    widest = max((abs(value) for _, *values in rows for value in values if value is not None), default=0.0) or 0.01
    middle, half = (_LABEL + _WIDTH - 20) / 2, (_WIDTH - 20 - _LABEL) / 2
    height = _ROW * len(rows) + 24
    parts = [f'<line class="zero" x1="{middle:.1f}" x2="{middle:.1f}" y1="0" y2="{height - 20}"/>']
    for n, (label, mean, low, high) in enumerate(rows):
        y = _ROW * n + 14
        parts.append(f'<text class="name" x="{_LABEL - 10}" y="{y + 4}">{escape(label)}</text>')
        spots = [middle + half * value / widest for value in (mean, low, high) if value is not None]
        if len(spots) == 3:
            parts.append(f'<line class="s0" x1="{spots[1]:.1f}" x2="{spots[2]:.1f}" y1="{y}" y2="{y}"/>')
        parts.append(f'<circle class="s0" cx="{spots[0]:.1f}" cy="{y}" r="4.5"><title>{mean:+.3f}</title></circle>')
    for value in (-widest, 0.0, widest):
        x = middle + half * value / widest
        parts.append(f'<text class="tick" x="{x:.1f}" y="{height - 6}">{value:+.2f}</text>')
    return _svg(height, "Paired differences with 95 % intervals", parts)


def curves(series: Sequence[Sequence[Point]], across: str, up: str) -> str:
    """Lines on a square from 0 to 1."""
    left, bottom, side = 46, 260, 240

    def place(point: Point) -> str:
        return f"{left + side * point[0]:.1f},{bottom - side * point[1]:.1f}"

    parts = [f'<rect class="frame" x="{left}" y="{bottom - side}" width="{side}" height="{side}"/>']
    for tick in (0.0, 0.5, 1.0):
        parts.append(f'<text class="tick" x="{left + side * tick:.1f}" y="{bottom + 16}">{tick:g}</text>')
        parts.append(f'<text class="name" x="{left - 6}" y="{bottom - side * tick + 4:.1f}">{tick:g}</text>')
    parts.append(f'<text class="tick" x="{left + side / 2}" y="{bottom + 32}">{escape(across)}</text>')
    parts.append(f'<text class="left" x="4" y="12">{escape(up)}</text>')
    for n, points in enumerate(series):
        if points:
            line = " ".join(place(point) for point in points)
            parts.append(f'<polyline class="curve s{n}" points="{line}"/>')
    return _svg(300, f"{up} against {across}", parts, width=left + side + 16)


def histogram(values: Sequence[float], unit: str, bins: int = 30) -> str:
    """Counts of values in bins of equal width, up to the 99th percentile; what lies beyond is in the last one."""
    ordered = sorted(values)
    if not ordered:
        return ""
    top = ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))] or 1e-9
    counts = [0] * bins
    for value in ordered:
        counts[min(bins - 1, int(bins * value / top))] += 1
    most, width = max(counts), _WIDTH / bins
    parts = [
        f'<rect class="bar" x="{n * width + 1:.1f}" y="{120 - 110 * count / most:.1f}" width="{width - 2:.1f}" '
        f'height="{110 * count / most:.1f}"><title>{top * n / bins:.3g} to {top * (n + 1) / bins:.3g} {unit}: {count}'
        "</title></rect>"
        for n, count in enumerate(counts)
    ]
    for share in (0.0, 0.5, 1.0):
        anchor = {0.0: "left", 0.5: "tick", 1.0: "name"}[share]
        parts.append(f'<text class="{anchor}" x="{_WIDTH * share:.0f}" y="138">{top * share:.3g} {unit}</text>')
    return _svg(144, f"Histogram of {unit}", parts)


def bars(rows: Sequence[tuple[str, int]]) -> str:
    """Counts with their numbers."""
    most = max((count for _, count in rows), default=0) or 1
    parts = []
    for n, (label, count) in enumerate(rows):
        y, width = _ROW * n + 4, (_WIDTH - _LABEL - 60) * count / most
        parts.append(f'<text class="name" x="{_LABEL - 10}" y="{y + 13}">{escape(label)}</text>')
        parts.append(f'<rect class="bar" x="{_LABEL}" y="{y}" width="{width:.1f}" height="16"/>')
        parts.append(f'<text class="left" x="{_LABEL + width + 6:.1f}" y="{y + 13}">{count}</text>')
    return _svg(_ROW * len(rows) + 4, "Failures by stage", parts)


def _x(value: float) -> str:
    return f"{_LABEL + (_WIDTH - _LABEL - 20) * min(1.0, max(0.0, value)):.1f}"


def _grid(height: int) -> str:
    lines = [
        f'<line class="grid" x1="{_x(tick)}" x2="{_x(tick)}" y1="0" y2="{height - 20}"/>'
        f'<text class="tick" x="{_x(tick)}" y="{height - 6}">{tick:g}</text>'
        for tick in (0.0, 0.25, 0.5, 0.75, 1.0)
    ]
    return "".join(lines)


def _svg(height: int, title: str, parts: Sequence[str], width: int = _WIDTH) -> str:
    body = "".join(parts)
    kind = ' class="small"' if width < _WIDTH else ""
    svg = f'<svg{kind} viewBox="0 0 {width} {height}" role="img" aria-label="{escape(title)}">{body}</svg>'
    return f'<div class="wide">{svg}</div>'
