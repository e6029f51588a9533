"""The command `llmkit train retriever`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json

if TYPE_CHECKING:
    from llmkit.training.retriever.loop import Told


@click.command("retriever")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a value of the recipe; repeatable."
)
@json_option
def command(recipe: str, overrides: tuple[str, ...], as_json: bool) -> None:
    """Train a retriever by a recipe: a file, or `train-retriever`. Run again, a killed training goes on."""
    from llmkit.cli.common.progress import ProgressBar
    from llmkit.training.retriever.recipe import load_recipe
    from llmkit.training.retriever.train import train

    loaded = load_recipe(recipe, overrides)
    with ProgressBar("steps", quiet=as_json) as bar:
        done = train(
            loaded,
            note=lambda text: click.echo(text, err=True),
            tell=lambda told: bar.show(told.step, told.steps, _line(told, loaded.measure)),
        )
    record = done.record
    if as_json:
        print_json(record)
        return
    first, best = record["dev"][0], max(record["dev"], key=lambda row: row[loaded.measure])
    for name in ("recall@1", "recall@5", "recall@20", "mrr@10", "ndcg@10"):
        click.echo(
            f"{name:<10} {first[name]:.3f} before  {best[name]:.3f} trained  {record['served_dev'][name]:.3f} served"
        )
    click.echo(
        f"{record['steps']} steps in {record['seconds']:.0f} s, {record['tokens'] / max(record['seconds'], 1e-9):.0f} "
        f"tokens/s; best at step {record['best_step']}\n"
        f"{done.folder}: use it with --encoder '{{type: dual, model: {done.folder}}}'"
    )


def _line(told: Told, measure: str) -> str:
    dev = f", dev {measure} {told.dev[measure]:.3f}" if told.dev else ""
    memory = f", {told.peak_mb:.0f} MB" if told.peak_mb else ""
    minutes, seconds = divmod(round(told.seconds_left), 60)
    return f"loss {told.loss:.4f}{dev}, {told.tokens_per_second:.0f} tokens/s, {minutes}:{seconds:02d} left{memory}"
