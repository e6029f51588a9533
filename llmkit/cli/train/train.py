"""The command `llmkit train`: one module for each subcommand, imported when the subcommand is used."""

from __future__ import annotations

from importlib import import_module

import click

from llmkit.errors import unknown

SUBCOMMANDS = {
    "mine": "Hard negatives for training data, screened for right answers.",
    "retriever": "A retriever from questions and passages, by one recipe.",
    "questions": "Questions from your own documents, checked by a round trip.",
    "reranker": "A small cross-encoder that reorders what was found.",
    "adopt": "A trained encoder taken into use, if it helps beyond doubt.",
    "answers": "Rows that teach a model to answer from passages, from the questions of tasks.",
    "tool-calls": "Rows that teach a model to call tools, from templates.",
    "lora": "A LoRA adapter of a chat model from your examples, by one recipe.",
    "export": "An adapter as merged safetensors, GGUF adapter or merged GGUF.",
}


class Training(click.Group):
    """Subcommands by name; ``--help`` imports none of them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every subcommand, in the order of the work."""
        return list(SUBCOMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The subcommand, from its own module."""
        if name not in SUBCOMMANDS:
            return None
        command: click.Command = import_module(f"llmkit.cli.train.{name.replace('-', '_')}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown subcommand with the near match."""
        if args and args[0] not in SUBCOMMANDS:
            ctx.fail(unknown("command of train", args[0], SUBCOMMANDS))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table above, without importing a module."""
        with formatter.section("Commands"):
            formatter.write_dl(list(SUBCOMMANDS.items()))


@click.group("train", cls=Training)
def command() -> None:
    """Train retrievers, rerankers and adapters on your own examples. Needs the extra `train`."""
