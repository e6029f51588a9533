"""The command `llmkit check`."""

from __future__ import annotations

import sys

import click

from llmkit.errors import ConfigError


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Check as if this were set; repeatable.")
def command(files: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Read pipeline files and report every problem with its place. Nothing is loaded or run."""
    from llmkit.pipeline import load_pipeline

    wrong = 0
    for file in files:
        try:
            pipeline = load_pipeline(file, overrides)
        except ConfigError as error:
            wrong += 1
            click.echo(str(error), err=True)
        else:
            steps = ", ".join(step.type for step in pipeline.steps)
            click.echo(f"{file}: {pipeline.name} is fine: {steps}")
    if wrong:
        sys.exit(2)
