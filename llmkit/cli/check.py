"""The command `llmkit check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from llmkit.errors import ConfigError


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Check as if this were set; repeatable.")
def command(files: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Read pipeline, task and recipe files and report every problem with its place. Nothing is loaded or run."""
    wrong = 0
    for file in files:
        try:
            click.echo(f"{file}: {_checked(file, overrides)}")
        except ConfigError as error:
            wrong += 1
            click.echo(str(error), err=True)
    if wrong:
        sys.exit(2)


def _checked(file: str, overrides: tuple[str, ...]) -> str:
    """What the file is, where nothing is wrong with it."""
    from llmkit import assets, config
    from llmkit.pipeline import load_pipeline

    path = Path(file)
    if config.read(path if path.is_file() else assets.find("pipelines", file)).values.get("recipe") == "lora":
        from llmkit.training.lora_recipe import load_recipe

        recipe = load_recipe(file, overrides)
        return f"recipe {recipe.name} is fine: an adapter of {recipe.base}"
    if path.is_file() and "dataset" in config.read(path).values:
        from llmkit.evaluation.task import load_task

        task = load_task(file, overrides)
        return f"task {task.name} is fine: {', '.join(task.figures)}"
    pipeline = load_pipeline(file, overrides)
    return f"{pipeline.name} is fine: {', '.join(step.type for step in pipeline.steps)}"
