"""The command `llmkit compare`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.figures import aligned, interval, number
from llmkit.cli.show import json_option, print_json

if TYPE_CHECKING:
    from llmkit.evaluation.folder import RunFolder


@click.command("compare")
@click.argument("runs", nargs=-1, required=True, metavar="RUNS...")
@click.option("--metric", "metrics", multiple=True, metavar="FIGURE", help="Only these figures; repeatable.")
@json_option
def command(runs: tuple[str, ...], metrics: tuple[str, ...], as_json: bool) -> None:
    """Compare every run with the first, sample by sample."""
    if len(runs) < 2:
        raise click.UsageError("give two runs or more; the first is what the others are compared with")
    from llmkit.evaluation.compare import compare, differences
    from llmkit.evaluation.folder import RunFolder

    folders = [RunFolder(Path(run)) for run in runs]
    found = compare(folders, metrics)
    if as_json:
        print_json([{**asdict(one), "verdict": one.verdict} for one in found])
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
        click.echo(aligned(rows))
        click.echo(_spent(folders[0], folder))
    click.echo(f"p: sign flips over clusters, corrected for {len(found)} comparisons (Holm)", err=True)


def _spent(before: RunFolder, now: RunFolder) -> str:
    """What both took of their models, a sample that went through."""
    words = []
    for key, name in (("calls", "calls"), ("input_tokens", "tokens in"), ("output_tokens", "tokens out")):
        taken = [[row[key] for row in run.scores() if row["status"] == "ok"] for run in (before, now)]
        a, b = (sum(values) / max(len(values), 1) for values in taken)
        words.append(f"{name} {a:.1f} -> {b:.1f}")
    return f"a sample: {', '.join(words)}"
