"""The command `llmkit prompt`."""

from __future__ import annotations

from pathlib import Path

import click

from llmkit.errors import PromptError


@click.group("prompt")
def command() -> None:
    """Versioned prompts."""


@command.command("lock")
@click.argument("folder", default="prompts", metavar="[FOLDER]")
def lock(folder: str) -> None:
    """Write LOCK.json: from now on a version that changes is refused."""
    from llmkit import prompts

    if not Path(folder).is_dir():
        raise PromptError(f"no folder {folder}")
    for ref, digest in prompts.lock(Path(folder)).items():
        click.echo(f"{ref}  {digest[:16]}")
