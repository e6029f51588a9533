"""The command `llmkit models`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import click

from llmkit.cli.common.render import interactive, json_option, print_json


@click.group("models")
def command() -> None:
    """Model weights. Only `pull` opens a connection."""


@command.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """The default models, and whether they are here; adapters that come with llmkit."""
    from llmkit import weights
    from llmkit.models.local import adapter

    listed = weights.listing()
    adapters = [adapter.read_adapter(name) for name in adapter.names()]
    if as_json:
        print_json(
            [{**asdict(model), "path": str(model.path)} for model in listed]
            + [
                {"name": one.folder.name, "base": one.record["base"]["name"], "path": str(one.folder)}
                for one in adapters
            ]
        )
        return
    for one in adapters:
        base = one.record["base"]["name"]
        click.echo(
            f"{one.folder.name:<12} {one.size / 1e6:>6.0f} MB  adapter of {base}: --set model=local:{one.folder.name}"
        )
    for model in listed:
        here = str(model.path) if model.present else f"not here: llmkit models pull {model.name}"
        click.echo(
            f"{model.name:<12} {model.size / 1e6:>6.0f} MB  {model.licence:<11} {model.purpose}\n{'':<12} {here}"
        )


@command.command("pull")
@click.argument("names", nargs=-1, metavar="[NAMES]...")
def pull(names: tuple[str, ...]) -> None:
    """Bring models, all of them without a name: download, verify, unpack. What is here and right is left alone."""
    from llmkit import weights

    for name in names or weights.catalogue():
        path = weights.pull(name, _progress())
        click.echo(f"{name}: {path}")


@command.command("path")
@click.argument("name")
def path(name: str) -> None:
    """Where a model lies."""
    from llmkit import weights

    click.echo(weights.find(name))


def _progress() -> Callable[[str, int, int], None]:
    """A line on stderr that a terminal overwrites; a line every ten seconds elsewhere."""
    told = time.monotonic()
    live = interactive()

    def tell(name: str, done: int, total: int) -> None:
        nonlocal told
        now = time.monotonic()
        if now - told > (0.1 if live else 10) or (live and done == total):
            told = now
            end = "\n" if not live or done == total else "\r"
            click.echo(f"{name}  {done / 1e6:.0f} of {total / 1e6:.0f} MB{end}", nl=False, err=True)

    return tell
