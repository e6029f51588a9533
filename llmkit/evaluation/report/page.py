"""One HTML page of runs: figures with their intervals, comparisons, charts, and every sample with what led to it.

The page loads nothing. What comes from data is escaped where it is written into the page, and set as text where the
page's script shows it; a content security policy lets no other script or style run.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Sequence
from contextlib import suppress
from html import escape
from importlib.resources import files
from pathlib import Path
from typing import Any

from llmkit.errors import DataError
from llmkit.evaluation.analysis.compare import Comparison, compare
from llmkit.evaluation.analysis.regressions import flips
from llmkit.evaluation.report import charts as report_charts
from llmkit.evaluation.report import regressions
from llmkit.evaluation.report.samples import SAMPLES, blamed, samples_of
from llmkit.evaluation.runs.run_folder import RunFolder

_COLOURS = 4


def write(runs: Sequence[RunFolder], path: Path) -> None:
    """Write the page of some runs.

    Raises:
        DataError: a run is not finished, or the file cannot be written.
    """
    fresh = path.with_name(f"{path.name}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh.write_text(render(runs), encoding="utf-8")
        fresh.replace(path)
    except OSError as error:
        with suppress(OSError):
            fresh.unlink(missing_ok=True)
        raise DataError(f"{path} cannot be written: {error}") from error


def render(runs: Sequence[RunFolder]) -> str:
    """The page as text."""
    comparisons: list[Comparison] = []
    note = flipped = ""
    if len(runs) > 1:
        try:
            comparisons = compare(runs)
            metric = runs[0].run["primary"]
            both = [run for run in runs[1:] if metric in run.run["metrics"]]
            flipped = "".join(regressions.section(flips(runs[0], run)) for run in both)
        except DataError as error:
            note = f'<p class="bad">Not compared: {escape(str(error))}</p>'
    samples: list[dict[str, Any]] = []
    left_out = 0
    for n, run in enumerate(runs):
        found, more = samples_of(run, n)
        samples += found
        left_out += more
    page = files("llmkit.evaluation.report")
    script = page.joinpath("page.js").read_text(encoding="utf-8")
    style = page.joinpath("page.css").read_text(encoding="utf-8")
    policy = f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}"
    stages = list(dict.fromkeys(sample["stage"] for sample in samples if sample["stage"]))
    sections = [
        _header(runs),
        _means(runs),
        note,
        _differences(comparisons),
        flipped,
        _curves(runs),
        _latency(runs),
        _blame(runs),
        _browser(runs, stages, left_out),
    ]
    body = "\n".join(section for section in sections if section)
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta http-equiv="Content-Security-Policy" content="{policy}">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(', '.join(run.name for run in runs))}</title><style>{style}</style></head>\n"
        f'<body>{body}\n<script type="application/json" id="data">{_json({"samples": samples})}</script>'
        f"<script>{script}</script></body></html>\n"
    )


def _header(runs: Sequence[RunFolder]) -> str:
    rows = []
    for n, run in enumerate(runs):
        summary = run.summary()
        latency, tokens = summary["latency"] or {}, summary["tokens"]
        counts = [str(summary[name]) for name in ("n", "errors", "timeouts")]
        times = [_number(latency.get(name), " s") for name in ("p50", "p95")]
        spent = str(tokens.get("input", 0) + tokens.get("output", 0))
        rows.append([_key(n) + escape(run.name), *counts, *times, spent, escape(run.run["started"])])
    head = ("run", "samples", "errors", "timeouts", "p50", "p95", "tokens", "started")
    return f"<header><h1>Evaluation</h1>{_table(head, rows)}</header>"


def _means(runs: Sequence[RunFolder]) -> str:
    names = list(dict.fromkeys(name for run in runs for name in run.summary()["metrics"]))
    rows, chart = [], []
    for name in names:
        first = True
        for n, run in enumerate(runs):
            found = run.summary()["metrics"].get(name)
            if found is None:
                continue
            reasons = ", ".join(f"{count} unscored: {escape(why)}" for why, count in found["reasons"].items())
            span = _span(found["low"], found["high"])
            rows.append([_key(n) + escape(name), _number(found["mean"]), span, str(found["n"]), reasons])
            if found["mean"] is not None and run.run["metrics"][name]["unit"] == "share":
                chart.append((name if first else "", n % _COLOURS, found["mean"], found["low"], found["high"]))
                first = False
    about = {name: run.run["metrics"][name]["about"] for run in runs for name in names if name in run.run["metrics"]}
    words = "".join(f"<dt>{escape(name)}</dt><dd>{escape(text)}</dd>" for name, text in about.items())
    return (
        f"<section><h2>Figures</h2>{report_charts.whiskers(chart)}"
        f"{_table(('figure', 'mean', '95 % interval', 'n', 'not in the mean'), rows)}"
        f"<details><summary>What the figures mean</summary><dl>{words}</dl></details></section>"
    )


def _differences(comparisons: Sequence[Comparison]) -> str:
    if not comparisons:
        return ""
    rows, chart = [], []
    for one in comparisons:
        span, counts = one.paired.difference, one.paired
        several = len({other.b for other in comparisons}) > 1
        name = f"{one.metric}, {one.b}" if several else one.metric
        score = f"{counts.wins}/{counts.ties}/{counts.losses}"
        cells = [f"{span.mean:+.3f}", _span(span.low, span.high), f"{one.p:.4f}", score, escape(one.verdict)]
        rows.append([escape(name), *cells])
        chart.append((name, span.mean, span.low, span.high))
    head = ("figure", "difference", "95 % interval", "p", "win/tie/loss", "verdict")
    return (
        f"<section><h2>Against {escape(comparisons[0].a)}</h2>{report_charts.differences(chart)}{_table(head, rows)}"
        '<p class="soft">Paired by sample; p by sign flips over clusters, corrected for '
        f"{len(comparisons)} comparisons (Holm).</p></section>"
    )


def _curves(runs: Sequence[RunFolder]) -> str:
    series = [[(c, r) for c, r in run.summary()["risk_coverage"] or []] for run in runs[:_COLOURS]]
    if not any(series):
        return ""
    chart = report_charts.curves(series, "share of the questions answered", "share of the answers that are wrong")
    return f"<section><h2>Risk and coverage</h2>{chart}</section>"


def _latency(runs: Sequence[RunFolder]) -> str:
    charts = []
    for run in runs:
        seconds = [row["seconds"] for row in run.scores() if row["status"] == "ok" and not row["cached"]]
        if seconds:
            charts.append(f"<h3>{escape(run.name)}</h3>{report_charts.histogram(seconds, 's')}")
    return f"<section><h2>Seconds a sample</h2>{''.join(charts)}</section>" if charts else ""


def _blame(runs: Sequence[RunFolder]) -> str:
    charts = []
    for run in runs:
        found = blamed(run)
        if found is not None:
            bars = report_charts.bars(list(found["stages"].items()))
            charts.append(f"<h3>{escape(run.name)}: {found['failed']} of {found['samples']} failed</h3>{bars}")
    return f"<section><h2>Failures by stage</h2>{''.join(charts)}</section>" if charts else ""


def _browser(runs: Sequence[RunFolder], stages: Sequence[str], left_out: int) -> str:
    chosen = "".join(f'<option value="{n}">{escape(run.name)}</option>' for n, run in enumerate(runs))
    kinds = "".join(f"<option>{kind}</option>" for kind in ("right", "wrong", "unscored", "error", "timeout"))
    stage = "".join(f"<option>{escape(name)}</option>" for name in stages)
    more = f'<p class="bad">{left_out} samples are not on this page (at most {SAMPLES} a run, failed ones first).</p>'
    return (
        f"<section><h2>Samples</h2>{more if left_out else ''}"
        '<div class="tools"><input id="search" type="search" placeholder="Search" aria-label="Search the samples">'
        f'<select id="run" aria-label="Run"><option value="">every run</option>{chosen}</select>'
        f'<select id="kind" aria-label="Outcome"><option value="">every outcome</option>{kinds}</select>'
        f'<select id="stage" aria-label="Stage"><option value="">every stage</option>{stage}</select></div>'
        '<p id="count" class="soft" role="status"></p><ul id="list"></ul>'
        '<div class="tools"><button id="before" type="button">Before</button>'
        '<button id="after" type="button">After</button></div>'
        '<div id="detail" role="region" aria-label="Sample" tabindex="-1" hidden></div></section>'
    )


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table of cells that are HTML already; the first of a row names it."""
    top = "".join(f'<th scope="col">{name}</th>' for name in head)
    body = "".join(
        f'<tr><th scope="row">{first}</th>{"".join(f"<td>{cell}</td>" for cell in rest)}</tr>' for first, *rest in rows
    )
    return f'<div class="wide"><table><tr>{top}</tr>{body}</table></div>'


def _key(n: int) -> str:
    return f'<span class="key k{n % _COLOURS}"></span>'


def _number(value: float | None, unit: str = "") -> str:
    return "-" if value is None else f"{value:.3f}{unit}"


def _span(low: float | None, high: float | None) -> str:
    return "too few to say" if low is None or high is None else f"[{low:.3f}, {high:.3f}]"


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


def _json(value: object) -> str:
    """JSON that cannot end its script element or start anything else."""
    text = json.dumps(value, ensure_ascii=False)
    for character in "<>&\u2028\u2029":
        text = text.replace(character, f"\\u{ord(character):04x}")
    return text
