"""The command `llmkit init`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.errors import ConfigError


@click.command("init")
@click.argument("directory", metavar="DIR")
def command(directory: str) -> None:
    """Copy the shipped pipelines, prompts and eval files into DIR. Files that are there are left alone."""
    from llmkit.assets import copy_out

    target = Path(directory).expanduser()
    try:
        target.mkdir(parents=True, exist_ok=True)
        written = copy_out(target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error}") from error
    for path in written:
        click.echo(path)
    click.echo(f"{len(written)} files written" if written else "everything was there already", err=True)
