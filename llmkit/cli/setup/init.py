"""The command `llmkit init`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.errors import ConfigError


@click.command("init")
@click.argument("directory", metavar="DIR")
def command(directory: str) -> None:
    """Copy the shipped pipelines, prompts and eval files into DIR. A file that exists is not changed.

    llmkit looks for pipelines, prompts and eval files in the current folder first: run it in DIR to use the copies.
    """
    from llmkit.assets import copy_out

    target = Path(directory).expanduser()
    try:
        target.mkdir(parents=True, exist_ok=True)
        written = copy_out(target)
    except OSError as error:
        raise ConfigError(f"{target} cannot be written: {error}") from error
    for path in written:
        click.echo(path)
    click.echo(
        f"{len(written)} files written" if written else "every file is there already; nothing was written", err=True
    )
