"""The command `llmkit compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.common.figures import align_columns, interval, number
from llmkit.cli.common.options import json_option
from llmkit.cli.common.regressions import flips_row, show_flips
from llmkit.cli.common.render import print_json

if TYPE_CHECKING:
    from llmkit.evaluation.runs.run_folder import RunFolder


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUNS...")
@click.option(
    "--metric",
    "metrics",
    multiple=True,
    metavar="FIGURE",
    help="Compare only this figure; repeatable.",
)
@click.option(
    "--by", "groups", multiple=True, metavar="GROUP", default=("cause", "kind"), show_default=True,
    help="Group flips by cause, kind, stage, document, or a column of the data; repeatable.",
)  # fmt: skip
@click.option("--show", type=click.IntRange(0), default=3, show_default=True, help="Number of flips to show.")
@json_option
def command(runs: tuple[str, ...], metrics: tuple[str, ...], groups: tuple[str, ...], show: int, as_json: bool) -> None:
    """Compare every run with the first, paired by sample, and show the samples whose result flipped."""
    if len(runs) < 2:
        raise click.UsageError("give two runs or more; the others are compared with the first")
    from llmkit.evaluation.analysis.compare import compare, differences
    from llmkit.evaluation.analysis.regressions import flips
    from llmkit.evaluation.runs.run_folder import RunFolder

    folders = [RunFolder(Path(run)) for run in runs]
    found = compare(folders, metrics)
    metric = _flip_metric(folders[0], metrics, {one.metric for one in found})
    flipped = {folder.name: flips(folders[0], folder, metric) for folder in folders[1:]}
    if as_json:
        rows_of_flips = {name: flips_row(one, groups) for name, one in flipped.items()}
        print_json(
            [
                {**asdict(one), "verdict": one.verdict, "flips": rows_of_flips[one.b] if one.metric == metric else None}
                for one in found
            ]
        )
        return
    for folder in folders[1:]:
        mine = [one for one in found if one.b == folder.name]
        click.echo(f"{folder.name} against {folders[0].name}, {max(one.pairs for one in mine)} samples")
        for path, a, b in differences(folders[0], folder):
            click.echo(f"  {path}: {a!r} -> {b!r}")
        rows = [("", "before", "now", "difference", "95 % interval", "p", "win/tie/loss", "")]
        for one in mine:
            span, counts = one.paired.difference, one.paired
            note = one.verdict + (f"; {one.unpaired} samples scored by one only" if one.unpaired else "")
            rows.append(
                (
                    one.metric, number(one.mean_a), number(one.mean_b), number(span.mean, signed=True),
                    interval(span.low, span.high, signed=True), f"{one.p:.4f}",
                    f"{counts.wins}/{counts.ties}/{counts.losses}", note,
                )
            )  # fmt: skip
        click.echo(align_columns(rows))
        click.echo(_usage(folders[0], folder))
        show_flips(flipped[folder.name], groups, show)
    click.echo(f"p: sign-flip test over clusters, Holm-corrected for {len(found)} comparisons", err=True)


def _flip_metric(first: RunFolder, metrics: tuple[str, ...], compared: set[str]) -> str:
    """The figure whose flips are shown: that of --metric, else the primary one, else any that was compared."""
    primary = str(first.run["primary"])
    return metrics[0] if metrics else primary if primary in compared else sorted(compared)[0]


def _usage(before: RunFolder, now: RunFolder) -> str:
    """Model calls and tokens of both runs, for each sample that succeeded."""
    words = []
    for key, name in (("calls", "calls"), ("input_tokens", "tokens in"), ("output_tokens", "tokens out")):
        counts = [[row[key] for row in run.scores() if row["status"] == "ok"] for run in (before, now)]
        a, b = (sum(values) / max(len(values), 1) for values in counts)
        words.append(f"{name} {a:.1f} -> {b:.1f}")
    return f"per sample: {', '.join(words)}"
