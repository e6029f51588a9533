"""The command `llmkit schema`."""

from __future__ import annotations

import json

import click
from pydantic import BaseModel


@click.command("schema")
@click.argument("what", type=click.Choice(["pipeline", "task", "experiment", "retriever", "reranker", "lora"]))
def command(what: str) -> None:
    """Print the JSON schema of a configuration file, with all parts and keys."""
    from llmkit.evaluation.tasks.task import Task
    from llmkit.experiments.experiment import Experiment
    from llmkit.pipeline import Pipeline
    from llmkit.registry import json_schema
    from llmkit.training.lora.recipe import LoraRecipe
    from llmkit.training.reranker.recipe import RerankerRecipe
    from llmkit.training.retriever.recipe import RetrieverRecipe

    models: dict[str, type[BaseModel]] = {
        "pipeline": Pipeline,
        "task": Task,
        "experiment": Experiment,
        "retriever": RetrieverRecipe,
        "reranker": RerankerRecipe,
        "lora": LoraRecipe,
    }
    click.echo(json.dumps(json_schema(models[what]), indent=2, ensure_ascii=False))
