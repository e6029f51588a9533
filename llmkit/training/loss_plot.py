"""The losses of a training as a small SVG picture that any browser shows."""

from __future__ import annotations

from collections.abc import Sequence

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _BOTTOM, _TOP = 720, 320, 56, 52, 36, 20
_TICKS = 5


def loss_plot(losses: Sequence[float], dev: Sequence[tuple[float, float]], title: str, measure: str = "loss") -> str:
    """Draw the loss of each step, its running mean, and the evaluations on the dev set as points.

    Args:
        losses: one for each step.
        dev: (step, value); step 0 is before the first step.
        title: written above the picture.
        measure: what the dev values are. ``loss`` shares the axis of the losses on the left; another measure has its
            own axis from 0 to 1 on the right.
    """
    smooth = _running_mean(losses)
    same_axis = measure == "loss"
    values = [*smooth, *(value for _, value in dev if same_axis)]
    low, high = min(values), max([*values, *losses[:1]])
    if high - low < 1e-9:
        high = low + 1.0
    right, base = _WIDTH - _RIGHT, _HEIGHT - _BOTTOM

    def x(step: float) -> float:
        return round(_LEFT + (right - _LEFT) * (max(1, step) - 1) / max(1, len(losses) - 1), 1)

    def height(share: float) -> float:
        return round(base - (base - _TOP) * share, 1)

    def y(value: float) -> float:
        return height((min(max(value, low), high) - low) / (high - low))

    def line(series: Sequence[float]) -> str:
        return " ".join(f"{x(n)},{y(value)}" for n, value in enumerate(series, 1))

    shares = [n / (_TICKS - 1) for n in range(_TICKS)]
    ticks = "".join(
        f'<text x="{_LEFT - 6}" y="{height(share) + 4}" text-anchor="end">{low + (high - low) * share:.2f}</text>'
        f'<line x1="{_LEFT}" x2="{right}" y1="{height(share)}" y2="{height(share)}" stroke="#ddd"/>'
        for share in shares
    )
    if not same_axis:
        ticks += "".join(f'<text x="{right + 6}" y="{height(share) + 4}">{share:.2f}</text>' for share in shares)
    points = "".join(
        f'<circle cx="{x(step)}" cy="{y(value) if same_axis else height(value)}" r="3.5" fill="#c2410c"/>'
        for step, value in dev
    )
    side = "" if same_axis else ", right axis"
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {_HEIGHT}" font-family="sans-serif" '
        f'font-size="11"><rect width="100%" height="100%" fill="#fff"/><text x="{_LEFT}" y="13">{_escaped(title)}'
        f'</text>{ticks}<polyline points="{line(losses)}" fill="none" stroke="#93c5fd" stroke-width="0.8"/>'
        f'<polyline points="{line(smooth)}" fill="none" stroke="#1d4ed8" stroke-width="1.8"/>{points}'
        f'<text x="{_LEFT}" y="{_HEIGHT - 12}">step 1</text><text x="{right}" y="{_HEIGHT - 12}" text-anchor="end">'
        f"step {len(losses)}: loss of each step, its running mean, dev {_escaped(measure)} as points{side}"
        "</text></svg>\n"
    )


def _escaped(text: str) -> str:
    return text.replace("&", "&amp;").replace("<", "&lt;")


def _running_mean(losses: Sequence[float]) -> list[float]:
    """Exponential running mean, corrected for its start at 0."""
    smooth, mean, weight = [], 0.0, 0.0
    for value in losses:
        mean, weight = 0.9 * mean + 0.1 * value, 0.9 * weight + 0.1
        smooth.append(mean / weight)
    return smooth
