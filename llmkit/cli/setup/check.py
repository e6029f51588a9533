"""The command `llmkit check`."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from llmkit.errors import ConfigError


@click.command("check")
@click.argument("files", nargs=-1, required=True, metavar="FILES...")
@click.option(
    "--set", "overrides", multiple=True, metavar="PATH=VALUE", help="Check the file with this change; repeatable."
)
def command(files: tuple[str, ...], overrides: tuple[str, ...]) -> None:
    """Validate pipeline, task, experiment and recipe files, and print every problem with its line. Nothing is run.

    FILES are files, or names of pipelines, tasks and experiments. Exit code 2: there is a problem.
    """
    wrong = 0
    for file in files:
        try:
            click.echo(f"{file}: {_check(file, overrides)}")
        except ConfigError as error:
            wrong += 1
            click.echo(str(error), err=True)
    if wrong:
        sys.exit(2)


def _check(file: str, overrides: tuple[str, ...]) -> str:
    """Describe a valid file in one line.

    Raises:
        ConfigError: lists the problems of the file.
    """
    from llmkit import config
    from llmkit.pipeline import load_pipeline

    path = Path(file) if Path(file).is_file() else _find(file)
    file = str(path)
    values = config.read(path).values
    if "vary" in values or "arms" in values or ("task" in values and "pipeline" in values):
        from llmkit.experiments.experiment import arms_of, load_experiment, task_of

        experiment = load_experiment(file, overrides)
        task_of(experiment)
        if experiment.optimises:
            from llmkit.experiments.optimise.search import check_search

            step, ref = check_search(experiment)
            return f"experiment {experiment.name} is fine: it works on {ref} of steps[{step}]"
        return f"experiment {experiment.name} is fine: {len(arms_of(experiment))} arms"
    if "recipe" in values:
        return _recipe(str(values["recipe"]), file, overrides)
    if "dataset" in values:
        from llmkit.evaluation.tasks.task import load_task

        task = load_task(file, overrides)
        return f"task {task.name} is fine: {', '.join(task.figures)}"
    pipeline = load_pipeline(file, overrides)
    return f"{pipeline.name} is fine: {', '.join(step.type for step in pipeline.steps)}"


def _find(name: str) -> Path:
    """The file of a pipeline, task or experiment by its name; pipelines come first."""
    from llmkit import assets

    if name not in assets.known("pipelines"):
        for kind in ("tasks", "experiments"):
            if f"{kind}/{name}" in assets.known("eval"):
                return assets.find("eval", f"{kind}/{name}")
    return assets.find("pipelines", name)


def _recipe(kind: str, file: str, overrides: tuple[str, ...]) -> str:
    from llmkit.training.lora import recipe as lora_recipe
    from llmkit.training.reranker import recipe as reranker_recipe
    from llmkit.training.retriever import recipe

    if kind == "reranker":
        asked = reranker_recipe.load_recipe(file, overrides)
        return f"recipe is fine: a reranker from {asked.base}, for {asked.out}"
    if kind == "lora":
        adapter = lora_recipe.load_recipe(file, overrides)
        return f"recipe {adapter.name} is fine: an adapter of {adapter.base}"
    retriever = recipe.load_recipe(file, overrides)
    return f"recipe {retriever.name} is fine: a retriever from {retriever.base}"
