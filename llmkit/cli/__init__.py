"""The command line: one file a command, imported when it is asked for.

Exit codes: 0 done, 1 nothing could be done, 2 usage or configuration error, 130 interrupted.
"""

from __future__ import annotations

import os
import sys
from importlib import import_module

import click

from llmkit.errors import Cancelled, ConfigError, LlmkitError, PromptError, unknown
from llmkit.version import __version__

COMMANDS = {
    "ingest": "Bring files and folders into a knowledge base.",
    "ask": "Ask your documents; answers come with citations.",
    "chat": "Talk with your documents; conversations are kept.",
    "serve": "Serve an OpenAI-compatible interface and a page to talk on.",
    "keys": "API keys of the server: add, list, revoke.",
    "search": "Find passages, without an answer.",
    "status": "What a knowledge base holds, file by file.",
    "kb": "Care for a knowledge base: history, roll back, compact, forget, index, verify, repair.",
    "eval": "Run pipelines on a task and score them.",
    "compare": "Compare runs sample by sample, with intervals.",
    "gate": "For CI: fail only where a run is worse beyond doubt.",
    "abstain": "Answer only as often as few enough answers are wrong: learn, show, watch.",
    "blame": "Why answers were wrong: the first stage whose repair helps.",
    "train": "Train on your own examples.",
    "correct": "A judge's mean, corrected by a few human labels.",
    "experiment": "Race the arms of an experiment until one is shown to be best.",
    "report": "One HTML page of runs, with every sample.",
    "trace": "What every step did, as a tree: of a sample of a run, or of a turn of a conversation.",
    "replay": "Run recorded samples again from their traces, without a model.",
    "check": "Check pipeline files and do nothing else.",
    "schema": "JSON schema of a configuration, for editors.",
    "init": "Copy the pipelines, prompts and eval files out for editing.",
    "models": "Model weights: list, pull, path.",
    "doctor": "What this machine has, what is missing and how to get it.",
    "prompt": "Versioned prompts: list, show, diff, render, lint, new-version, lock.",
}

_PACKAGES = {
    **dict.fromkeys("ingest search status kb".split(), "knowledge"),
    **dict.fromkeys("ask chat serve keys".split(), "answering"),
    **dict.fromkeys("eval compare gate blame correct report replay trace abstain".split(), "evaluation"),
    **dict.fromkeys("prompt experiment".split(), "prompts"),
    **dict.fromkeys("check schema init models doctor".split(), "setup"),
    "train": "train",
}
"""The package below ``llmkit.cli`` that holds a command's module."""


def _perhaps_a_pipeline(name: str) -> str:
    from llmkit import assets

    if name not in assets.known("pipelines"):
        return ""
    return f"; {name} is a pipeline: llmkit ask QUESTION --pipeline {name}, llmkit chat --pipeline {name}"


class Commands(click.Group):
    """Commands by name; a module is imported when its command runs, and ``--help`` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Every command, in the order of a first session."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command, from its own module."""
        return self.load(name) if name in COMMANDS else None

    def load(self, name: str) -> click.Command:
        """The command of that name, whose module is imported now."""
        command: click.Command = import_module(f"llmkit.cli.{_PACKAGES[name]}.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command with the near match."""
        if args and args[0] not in COMMANDS:
            ctx.fail(unknown("command", args[0], COMMANDS) + _perhaps_a_pipeline(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """The table above, without importing a module."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llmkit")
def cli() -> None:
    """Turns your documents into answers you can check."""


def main() -> None:
    """Run a command; errors of ours are one message on stderr, without a traceback."""
    for stream in (sys.stdout, sys.stderr):
        if hasattr(stream, "reconfigure"):
            stream.reconfigure(errors="replace")
    try:
        code = cli.main(standalone_mode=False)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except (KeyboardInterrupt, click.Abort, Cancelled):
        click.echo("\ninterrupted; what was committed is kept", err=True)
        code = 130
    except BrokenPipeError:  # the reader of our output has gone, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except LlmkitError as error:
        click.echo(f"llmkit: {error}", err=True)
        code = 2 if isinstance(error, ConfigError | PromptError) else 1
    except OSError as error:  # a full disk, a file that may not be written
        click.echo(f"llmkit: {error}", err=True)
        code = 1
    sys.exit(code if isinstance(code, int) else 0)
