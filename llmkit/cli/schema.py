"""The command `llmkit schema`."""

from __future__ import annotations

import json

import click


@click.command("schema")
@click.argument("what", type=click.Choice(["pipeline", "task"]))
def command(what: str) -> None:
    """JSON schema of a configuration, with every part and key that ships."""
    from llmkit.evaluation.task import Task
    from llmkit.pipeline import Pipeline
    from llmkit.registry import json_schema

    click.echo(json.dumps(json_schema(Task if what == "task" else Pipeline), indent=2, ensure_ascii=False))
