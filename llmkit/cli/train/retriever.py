"""The command `llmkit train retriever`."""

from __future__ import annotations

import click

from llmkit.cli.common.options import json_option
from llmkit.cli.common.render import print_json


@click.command("retriever")
@click.argument("recipe", metavar="RECIPE")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Change a value of the recipe; repeatable."
)
@click.option("--fresh", is_flag=True, help="Discard an unfinished training in the same `out`.")
@json_option
def command(recipe: str, overrides: tuple[str, ...], fresh: bool, as_json: bool) -> None:
    """Train a retriever by a recipe: a file, or `train-retriever`.

    If the training is killed, the same command continues it.
    """
    from llmkit.cli.common.progress import ProgressBar
    from llmkit.cli.train.step_line import step_line
    from llmkit.training.retriever.recipe import load_recipe
    from llmkit.training.retriever.train import train

    loaded = load_recipe(recipe, overrides)
    with ProgressBar("steps", quiet=as_json) as bar:
        done = train(
            loaded,
            fresh=fresh,
            note=lambda text: click.echo(text, err=True),
            on_step=lambda report: bar.show(report.step, report.steps, step_line(report, loaded.measure)),
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
        f"{done.folder}: the curve is in loss.svg; use it with --encoder '{{type: dual, model: {done.folder}}}'"
    )
