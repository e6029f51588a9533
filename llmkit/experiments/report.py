"""The page of an experiment: the decision, every arm with what speaks against it, and the path of every arm.

Like the page of runs it loads nothing, escapes what comes from data, and lets no script run.
"""

from __future__ import annotations

import base64
import hashlib
from contextlib import suppress
from html import escape
from importlib.resources import files
from pathlib import Path

from llmkit.errors import DataError
from llmkit.experiments.race.race import Decision
from llmkit.experiments.running import Standing, describe_state

_WIDTH, _HEIGHT, _LEFT, _RIGHT, _TOP, _BOTTOM = 960, 420, 52, 220, 16, 36


def write(page: str, path: Path) -> None:
    """Write a page, whole or not at all.

    Raises:
        DataError: the file cannot be written.
    """
    fresh = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(page, encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error}") from error


def render(standing: Standing, decision: Decision, decision_text: str) -> str:
    """The page as text; `decision_text` is the decision in words."""
    body = f"{paths(standing, decision)}\n{_table(standing, decision)}\n{_small_print(standing)}"
    return page(standing.experiment.name, standing.experiment.description, decision_text, body)


def page(name: str, about: str, decision_text: str, body: str) -> str:
    """A page around a body that is HTML already; the rest is escaped."""
    style = files("llmkit.experiments").joinpath("report.css").read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f"<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{digest}'\">"
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(name)}</title><style>{style}</style></head><body>\n"
        f"<h1>{escape(name)}</h1><p>{escape(about)}</p><p class='told'>{escape(decision_text)}</p>\n"
        f"{body}</body></html>\n"
    )


def paths(standing: Standing, decision: Decision) -> str:
    """Mean of each arm over the samples it had seen; a cross where it was beaten."""
    race = standing.race
    lines: dict[int, list[tuple[int, float]]] = {}
    for arm, seen, mean in standing.history:
        if mean == mean:
            lines.setdefault(arm, []).append((seen, mean))
    values = [mean for points in lines.values() for _, mean in points]
    low, high = min(values, default=0.0), max(values, default=1.0)
    low, high = max(0.0, low - 0.05), min(1.0, high + 0.05)

    def place(seen: float, mean: float) -> tuple[float, float]:
        x = _LEFT + (_WIDTH - _LEFT - _RIGHT) * seen / race.items
        return x, _TOP + (_HEIGHT - _TOP - _BOTTOM) * (high - mean) / max(high - low, 1e-9)

    parts = []
    for mean in (low, (low + high) / 2, high):
        x, y = place(0, mean)
        parts.append(f'<line class="axis" x1="{x:.1f}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>')
        parts.append(f'<text x="6" y="{y + 4:.1f}">{mean:.2f}</text>')
    parts.append(f'<text x="{_LEFT}" y="{_HEIGHT - 8}">0</text>')
    parts.append(f'<text x="{_WIDTH - _RIGHT - 90}" y="{_HEIGHT - 8}">{race.items} samples</text>')
    for arm in sorted(lines, key=lambda arm: arm == decision.best):  # the best is drawn last, on top
        points = lines[arm]
        kind = "best" if arm == decision.best else "left" if arm in decision.left else "out"
        spots = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        name = escape(standing.arms[arm].name)
        parts.append(f'<polyline class="path {kind}" points="{spots}"><title>{name}</title></polyline>')
        x, y = place(*points[-1])
        if kind == "out":
            parts.append(f'<path class="end" d="M{x - 4:.1f},{y - 4:.1f}l8,8m0,-8l-8,8"><title>{name}</title></path>')
    labels: list[float] = []
    last = max((points[-1][0] for points in lines.values()), default=0)
    for arm in sorted(decision.left, key=lambda arm: arm != decision.best):  # the best gets its label first
        if arm in lines and (lines[arm][-1][0] == last or arm == decision.best):
            x, y = place(*lines[arm][-1])
            if all(abs(y - other) > 13 for other in labels):
                labels.append(y)
                kind, name = "best" if arm == decision.best else "left", escape(standing.arms[arm].name[:60])
                parts.append(f'<text class="{kind}" x="{x + 6:.1f}" y="{y + 4:.1f}">{name}</text>')
    title = (
        f"Mean {escape(standing.figure)} of every arm over the samples it has seen; a cross marks where it was beaten; "
        f"a line that ends early without one rested, as it cannot be better by more than {race.epsilon:g}"
    )
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-label="{title}">{"".join(parts)}</svg><p>{title}.</p>'
    )


def _table(standing: Standing, decision: Decision) -> str:
    race, means = standing.race, standing.race.means()
    rows = []
    for n in sorted(
        range(race.arms), key=lambda arm: (arm not in decision.left, -float(means[arm] if race.seen[arm] else -1))
    ):
        kind = "best" if n == decision.best else "" if n in decision.left else "out"
        against = ""
        if n != decision.best:
            value, low, high = race.difference(n, decision.best)
            against = f"{value:+.3f} [{low:+.3f}, {high:+.3f}]" if value == value else ""
        state = describe_state(standing, n, decision.best)
        mean = f"{means[n]:.3f}" if race.seen[n] > race.missing(n) else ""
        numbers = [mean, race.seen[n], race.missing(n) or "", against]
        cells = "".join(f'<td class="n">{number}</td>' for number in numbers)
        name = escape(standing.arms[n].name)
        rows.append(f'<tr class="{kind}"><td>{name}</td>{cells}<td>{escape(state)}</td></tr>')
    names = [escape(standing.figure), "samples", "of them without a score", "against the best"]
    heads = "".join(f'<th class="n">{name}</th>' for name in names)
    return f"<table><tr><th>arm</th>{heads}<th></th></tr>{''.join(rows)}</table>"


def _small_print(standing: Standing) -> str:
    race, spent = standing.race, standing.spent
    return (
        f"<p>Intervals are of the difference of means over these {race.items} samples. Each end holds for all arms and "
        f"all times at once with probability {1 - race.delta:g}. A sample without a score counts as the worst for "
        f"whatever would be concluded. Asked for now: {spent.calls} answers, {spent.tokens} tokens, "
        f"{spent.seconds:.0f} s; {standing.spent.known} answers were known. Runs: "
        + ", ".join(f"<code>{escape(str(one.path))}</code>" for one in standing.plans)
        + "</p>"
    )
