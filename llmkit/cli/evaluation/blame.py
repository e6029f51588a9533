"""The command `llmkit blame`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import excerpt, print_json, stderr_is_terminal

_WIDTH = 40


@click.command("blame")
@click.argument("run", metavar="RUN")
@click.option(
    "--metric",
    default="",
    metavar="FIGURE",
    help="Figure that tells right from wrong. [default: the primary one]",
)
@click.option("--below", default=0.5, show_default=True, help="A sample with a lower score has failed.")
@click.option("--show", type=int, default=5, show_default=True, help="Examples to show for each stage.")
@json_option
def command(run: str, metric: str, below: float, show: int, as_json: bool) -> None:
    """Find for every failed sample the first stage whose correct output would make the answer right."""
    from llmkit.evaluation.analysis.error_analysis import blame
    from llmkit.evaluation.runs.reopen import reopen
    from llmkit.evaluation.runs.run_folder import write_json

    def show_progress(done: int) -> None:
        if stderr_is_terminal() and not as_json:
            click.echo(f"\r{done} failed samples analysed", nl=False, err=True)

    opened = reopen(Path(run))
    found = blame(opened, metric=metric, below=below, on_sample=show_progress)
    write_json(opened.folder.path / "blame.json", found.row())
    if as_json:
        print_json(found.row())
        return
    if stderr_is_terminal():
        click.echo(err=True)
    click.echo(f"{len(found.failed)} of {found.samples} samples have {found.metric} below {below:g}")
    largest = max(found.stages.values(), default=0) or 1
    rows = [(stage, str(count), "█" * round(_WIDTH * count / largest)) for stage, count in found.stages.items()]
    click.echo(align_columns(rows))
    for stage, count in found.stages.items():
        examples = [one for one in found.failed if one.stage == stage][:show]
        if count and examples:
            click.echo(f"\n{stage}:")
            for one in examples:
                click.echo(f"  {one.id}: {excerpt(one.why)}")
    click.echo(
        f"{found.reruns} answers were run again; all failed samples: {opened.folder.path / 'blame.json'}",
        err=True,
    )
