"""The command line. Each command has a module, which is imported when the command runs.

Exit codes: 0 done, 1 nothing could be done or a check failed, 2 usage or configuration error, 130 interrupted.
"""

from __future__ import annotations

import atexit
import os
import sys
import threading
import time
from contextlib import suppress
from importlib import import_module
from typing import NoReturn

import click

from llmkit.errors import Cancelled, ConfigError, LlmkitError, PromptError, unknown
from llmkit.version import __version__

COMMANDS = {
    "ingest": "Read files and folders into a knowledge base.",
    "ask": "Answer a question from your documents, with citations.",
    "chat": "Ask follow-up questions; conversations are kept.",
    "serve": "Serve an OpenAI-compatible HTTP API and a chat page.",
    "keys": "Manage API keys of the server: add, list, revoke.",
    "search": "Search for passages, without an answer.",
    "status": "Show what a knowledge base holds, file by file.",
    "kb": "Maintain a knowledge base: log, diff, rollback, compact, forget, index, verify, repair.",
    "eval": "Run pipelines on a task and score them.",
    "compare": "Compare runs, paired by sample, with confidence intervals.",
    "gate": "Fail in CI when a run is significantly worse than another.",
    "abstain": "Learn a confidence threshold that bounds the error rate: learn, show, watch.",
    "blame": "Attribute each wrong answer to the pipeline stage that caused it.",
    "train": "Train retrievers, rerankers and adapters on your own examples.",
    "correct": "Correct the mean score of a judge with a few human labels.",
    "experiment": "Race pipeline variants until one is significantly best.",
    "report": "Write one HTML page of runs, with their samples.",
    "trace": "Show what every step did for one sample or chat turn, as a tree.",
    "replay": "Run recorded samples again from their traces, without a chat model.",
    "check": "Validate pipeline, task, experiment and recipe files; nothing is run.",
    "schema": "Print the JSON schema of a configuration file, for editors.",
    "init": "Copy the shipped pipelines, prompts and eval files to a folder, to edit them.",
    "models": "Manage model weights: list, pull, path.",
    "doctor": "Show what this machine has, what is missing and how to install it.",
    "prompt": "Manage versioned prompts: list, show, diff, render, lint, new-version, lock.",
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


_PATIENCE = 2.0  # seconds that running threads get to end


def _pipeline_hint(name: str) -> str:
    """How to run a pipeline whose name was given as a command; empty for any other name."""
    from llmkit import assets

    if name not in assets.known("pipelines"):
        return ""
    return f"; {name} is a pipeline: llmkit ask QUESTION --pipeline {name}, llmkit chat --pipeline {name}"


class Commands(click.Group):
    """The commands. A module is imported when its command runs; ``--help`` imports none."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all commands, in the order of a first session."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """The command of that name, or None."""
        return self.load(name) if name in COMMANDS else None

    def load(self, name: str) -> click.Command:
        """Import the module of a command and return the command."""
        command: click.Command = import_module(f"llmkit.cli.{_PACKAGES[name]}.{name}").command
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        """Refuse an unknown command and name the nearest one."""
        if args and args[0] not in COMMANDS:
            ctx.fail(unknown("command", args[0], COMMANDS) + _pipeline_hint(args[0]))
        return super().resolve_command(ctx, args)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing their modules."""
        with formatter.section("Commands"):
            formatter.write_dl(list(COMMANDS.items()))


@click.group(cls=Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="llmkit")
def cli() -> None:
    """Turn your documents into answers you can check.

    A first session: `llmkit models pull`, `llmkit ingest FOLDER`, `llmkit ask QUESTION`.
    """


def main() -> None:
    """Run a command. An expected error becomes one message on stderr, without a traceback."""
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
    except BrokenPipeError:  # the reader of stdout has closed it, as in `| head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        code = 0
    except LlmkitError as error:
        click.echo(f"llmkit: {error}", err=True)
        code = 2 if isinstance(error, ConfigError | PromptError) else 1
    except OSError as error:  # for example a full disk, or a file without permission
        click.echo(f"llmkit: {error}", err=True)
        code = 1
    _exit(code if isinstance(code, int) else 0)


def _exit(code: int) -> NoReturn:
    """Exit, even if a worker thread of an evaluation is still inside native code.

    Such a thread is a daemon. The interpreter's shutdown would destroy the native library's objects under the thread,
    and the process would abort instead of returning `code`.
    """
    deadline = time.monotonic() + _PATIENCE
    workers = [one for one in threading.enumerate() if one.daemon and one.name.startswith("llmkit")]
    for worker in workers:
        worker.join(max(0.0, deadline - time.monotonic()))
    if any(worker.is_alive() for worker in workers):
        atexit._run_exitfuncs()
        with suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)
    sys.exit(code)
