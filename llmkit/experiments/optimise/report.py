"""The page of an optimisation: what came of it, quality against cost, every candidate, and the races."""

from __future__ import annotations

from html import escape

from llmkit.experiments.optimise.outcome import Outcome, Point
from llmkit.experiments.optimise.search import Search
from llmkit.experiments.report import page, paths

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 320, 60, 200, 16, 40


def render(search: Search, outcome: Outcome, outcome_text: str) -> str:
    """The page as text; `outcome_text` is the outcome in words."""
    races = "".join(
        f"<h2>Round {n}</h2>{paths(standing, standing.decision())}" for n, standing in enumerate(search.rounds, 1)
    )
    notes = "".join(f"<li>{escape(note)}</li>" for note in search.notes)
    body = f"{_front(outcome.points, search.figure)}{_table(search, outcome)}<ul>{notes}</ul>{races}"
    return page(search.experiment.name, search.experiment.description, outcome_text, body)


def _front(points: tuple[Point, ...], figure: str) -> str:
    """Mean of the figure against tokens; the front is drawn through."""
    if not points:
        return ""
    most = max(point.tokens for point in points) or 1.0
    low, high = min(point.mean for point in points), max(point.mean for point in points)
    low, high = max(0.0, low - 0.05), min(1.0, high + 0.05)

    def place(point: Point) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * point.tokens / most
        return x, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - point.mean) / max(high - low, 1e-9)

    parts = [
        f'<text x="6" y="{_TOP + 8}">{high:.2f}</text><text x="6" y="{_HEIGHT - _BOTTOM}">{low:.2f}</text>',
        f'<text x="{_LEFT}" y="{_HEIGHT - 8}">0</text>',
        f'<text x="{_WIDTH - _RIGHT - 60}" y="{_HEIGHT - 8}">{most:.0f} tokens</text>',
    ]
    front = sorted((point for point in points if point.front), key=lambda point: point.tokens)
    spots = " ".join("{:.1f},{:.1f}".format(*place(point)) for point in front)
    parts.append(f'<polyline class="path best" points="{spots}"/>')
    for point in points:
        x, y = place(point)
        name, kind = escape(point.name), "left" if point.front else "out"
        parts.append(f'<circle class="spot {kind}" cx="{x:.1f}" cy="{y:.1f}" r="4"><title>{name}</title></circle>')
        if point.front:
            parts.append(f'<text x="{x + 8:.1f}" y="{y + 4:.1f}">{escape(point.name[:40])}</text>')
    title = f"Mean {escape(figure)} against tokens a sample; on the line what no other is both better and cheaper than"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg><p>{title}.</p>'
    )


def _table(search: Search, outcome: Outcome) -> str:
    rows = "".join(
        f'<tr class="{"best" if point.name == outcome.best else "" if point.front else "out"}">'
        f'<td>{escape(point.name)}</td><td class="n">{point.mean:.3f}</td><td class="n">{point.seen}</td>'
        f'<td class="n">{point.tokens:.0f}</td><td>{escape("; ".join(search.made[point.name].made))}</td></tr>'
        for point in outcome.points
    )
    heads = "".join(f'<th class="n">{name}</th>' for name in (escape(search.figure), "samples", "tokens"))
    return f"<table><tr><th>candidate</th>{heads}<th>made by</th></tr>{rows}</table>"
