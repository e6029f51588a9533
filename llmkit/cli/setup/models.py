"""The command `llmkit models`."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json, stderr_is_terminal


@click.group("models")
def command() -> None:
    """List and download model weights. Only `pull` uses the network."""


@command.command("list")
@json_option
def list_models(as_json: bool) -> None:
    """List the default models and where they are on this machine, and the adapters that ship with llmkit."""
    from llmkit import weights
    from llmkit.models.local import adapter

    models = weights.listing()
    adapters = [adapter.read_adapter(name) for name in adapter.names()]
    if as_json:
        print_json(
            [{**asdict(model), "path": str(model.path)} for model in models]
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
    for model in models:
        here = str(model.path) if model.present else f"not downloaded: llmkit models pull {model.name}"
        click.echo(
            f"{model.name:<12} {model.size / 1e6:>6.0f} MB  {model.licence:<11} {model.purpose}\n{'':<12} {here}"
        )


@command.command("pull")
@click.argument("names", nargs=-1, metavar="[NAMES]...")
def pull(names: tuple[str, ...]) -> None:
    """Download models (without NAMES: all), verify and unpack them. Files that are present and correct are kept."""
    from llmkit import weights

    for name in names or weights.catalogue():
        path = weights.pull(name, _progress())
        click.echo(f"{name}: {path}")


@command.command("path")
@click.argument("name")
def path(name: str) -> None:
    """Print the path of a model on this machine."""
    from llmkit import weights

    click.echo(weights.find(name))


def _progress() -> Callable[[str, int, int], None]:
    """A callback that shows progress on stderr: one line on a terminal, a line every ten seconds elsewhere."""
    last = time.monotonic()
    live = stderr_is_terminal()

    def report(name: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last > (0.1 if live else 10) or (live and done == total):
            last = now
            end = "\n" if not live or done == total else "\r"
            click.echo(f"{name}  {done / 1e6:.0f} of {total / 1e6:.0f} MB{end}", nl=False, err=True)

    return report
