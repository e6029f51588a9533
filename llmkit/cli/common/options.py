"""Options that several commands share."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import Any

import click

Decorator = Callable[[Callable[..., Any]], Callable[..., Any]]

kb_option = click.option(
    "--kb", metavar="DIR", default=lambda: os.environ.get("LLMKIT_KB") or ".llmkit/kb",
    show_default="LLMKIT_KB or .llmkit/kb", help="Folder of the knowledge base.",
)  # fmt: skip
pipeline_kb_option = click.option(
    "--kb", metavar="DIR", default=lambda: os.environ.get("LLMKIT_KB") or None,
    show_default="LLMKIT_KB, else the pipeline's `knowledge`", help="Folder of the knowledge base.",
)  # fmt: skip
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON on stdout, and nothing else.")
as_of_option = click.option(
    "--as-of", metavar="GENERATION|DATE", help="Read an older generation, as in 12 or 2026-03-01."
)
reader_option = click.option(
    "--as", "reader", metavar="LABELS",
    help="Read as somebody with these access labels, as in hr,board; '' reads what everybody may.",
)  # fmt: skip
reasoning_option = click.option(
    "--reasoning", is_flag=True, help="Show the reasoning of the model on stderr, dimmed, before its answer."
)
where_option = click.option(
    "--where", metavar="FILTER", help="Use only passages that pass this filter, as in 'type == \"pdf\"'."
)
sessions_option = click.option(
    "--sessions", metavar="FILE", default=".llmkit/sessions.sqlite", show_default=True, envvar="LLMKIT_SESSIONS",
    help="File that keeps conversations.",
)  # fmt: skip
runs_option = click.option(
    "--runs", default="runs", show_default=True, metavar="DIR", envvar="LLMKIT_RUNS",
    help="Folder that holds all evaluation runs.",
)  # fmt: skip
workers_option = click.option(
    "--workers", type=click.IntRange(1, 64), default=1, show_default=True, help="Samples run at the same time."
)
server_data_option = click.option(
    "--data", metavar="DIR", default=".llmkit/serve", show_default=True, envvar="LLMKIT_SERVE",
    help="Folder for API keys, uploads, traces and feedback.",
)  # fmt: skip


def set_option(target: str, example: str = "", *, flag: str = "--set", name: str = "overrides") -> Decorator:
    """The option ``--set PATH=VALUE``.

    Args:
        target: what the values belong to, as in "the pipeline".
        example: one assignment.
        flag: name of the option.
        name: name of the parameter that receives a tuple of assignments.
    """
    shown = f", as in {example}" if example else ""
    return click.option(
        flag, name, multiple=True, metavar="PATH=VALUE", help=f"Change a value of {target}{shown}; repeatable."
    )
