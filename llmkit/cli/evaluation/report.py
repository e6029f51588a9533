"""The command `llmkit report`."""

from __future__ import annotations

from pathlib import Path

import click


@click.command("report")
@click.argument("runs", nargs=-1, required=True, metavar="RUNS...")
@click.option("--html", "out", default="report.html", show_default=True, metavar="FILE", help="File to write.")
def command(runs: tuple[str, ...], out: str) -> None:
    """Write one HTML page that loads nothing: figures, comparisons, charts and samples."""
    from llmkit.evaluation.report.page import write
    from llmkit.evaluation.runs.run_folder import RunFolder

    write([RunFolder(Path(run)) for run in runs], Path(out))
    click.echo(out)
