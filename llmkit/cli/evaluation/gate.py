"""The command `llmkit gate`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from llmkit.cli.common.figures import interval, number
from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json


@click.command("gate")
@click.argument("run", metavar="RUN")
@click.option("--against", required=True, metavar="RUN", help="Run to compare with.")
@click.option("--metric", metavar="FIGURE", help="Figure to compare. [default: the task's primary one]")
@click.option("--drop", type=click.FloatRange(min=0), default=0.0, show_default=True, help="How much worse it may be.")
@json_option
def command(run: str, against: str, metric: str | None, drop: float, as_json: bool) -> None:
    """Exit with 1 if RUN is significantly worse than the other run by more than --drop, or more of its samples fail."""
    from llmkit.evaluation.analysis.compare import gate
    from llmkit.evaluation.runs.run_folder import RunFolder

    new, old = RunFolder(Path(run)), RunFolder(Path(against))
    found = gate(new, old, metric or new.run["primary"], drop)
    span = found.comparison.paired.difference
    if as_json:
        print_json(
            {"passed": found.passed, "why": found.why, "difference": span.mean, "low": span.low, "high": span.high}
        )
    else:
        click.echo(
            f"{'passed' if found.passed else 'FAILED'}: {found.comparison.metric} {number(span.mean, signed=True)} "
            f"{interval(span.low, span.high, signed=True)}, {found.why}"
        )
    sys.exit(0 if found.passed else 1)
