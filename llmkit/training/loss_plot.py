"""The curve of a training as a small SVG picture that any browser shows."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _BOTTOM, _TOP = 720, 320, 56, 36, 20


def loss_plot(losses: Sequence[float], dev: Sequence[tuple[int, float]], title: str) -> str:
    """An SVG of the loss of each step, its running mean, and the dev loss as points.

    Args:
        losses: one a step.
        dev: (step from 1, loss).
        title: above the picture.
    """
    smooth = _running(losses)
    values = [*smooth, *(value for _, value in dev)]
    low, high = min(values), max([*values, *losses[:1]])
    if high - low < 1e-9:
        high = low + 1.0
    right, base = _WIDTH - 16, _HEIGHT - _BOTTOM

    def x(step: float) -> float:
        return round(_LEFT + (right - _LEFT) * (step - 1) / max(1, len(losses) - 1), 1)

    def y(value: float) -> float:
        return round(base - (base - _TOP) * (min(max(value, low), high) - low) / (high - low), 1)

    def line(series: Sequence[float]) -> str:
        return " ".join(f"{x(n)},{y(value)}" for n, value in enumerate(series, 1))

    ticks = "".join(
        f'<text x="{_LEFT - 6}" y="{y(value) + 4}" text-anchor="end">{value:.2f}</text>'
        f'<line x1="{_LEFT}" x2="{right}" y1="{y(value)}" y2="{y(value)}" stroke="#ddd"/>'
        for value in (low + (high - low) * n / 4 for n in range(5))
    )
    points = "".join(f'<circle cx="{x(step)}" cy="{y(value)}" r="3.5" fill="#c2410c"/>' for step, value in dev)
    safe = title.replace("&", "&amp;").replace("<", "&lt;")
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="#fff"/><text x="{_LEFT}" y="13">{safe}</text>{ticks}'
        f'<polyline points="{line(losses)}" fill="none" stroke="#93c5fd" stroke-width="0.8"/>'
        f'<polyline points="{line(smooth)}" fill="none" stroke="#1d4ed8" stroke-width="1.8"/>{points}'
        f'<text x="{_LEFT}" y="{_HEIGHT - 12}">step 1</text><text x="{right}" y="{_HEIGHT - 12}" text-anchor="end">'
        f"step {len(losses)}: loss of each step, its running mean, dev loss as points</text></svg>\n"
    )


def _running(losses: Sequence[float]) -> list[float]:
    """Exponential running mean without a bias towards its begin."""
    smooth, mean, weight = [], 0.0, 0.0
    for value in losses:
        mean, weight = 0.9 * mean + 0.1 * value, 0.9 * weight + 0.1
        smooth.append(mean / weight)
    return smooth
