"""A person at the terminal approves, rejects or edits the tool calls of an agent."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import click

from llmkit.approval import ApprovalNeeded, Decision, Request
from llmkit.cli.common.answers import print_events
from llmkit.types import Event

Resume = Callable[[ApprovalNeeded, Sequence[Decision]], Iterator[Event]]


def is_attended() -> bool:
    """Whether a person can be asked: stdin and stderr are a terminal."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def run_with_approvals(
    events: Iterator[Event],
    resume: Resume,
    decide: Callable[[Request], Decision] | None = None,
    *,
    reasoning: bool = False,
) -> None:
    """Print the events of a run; when the agent needs a decision, ask for it and resume.

    Args:
        events: the run, as :meth:`llmkit.pipeline.Pipeline.stream` yields it.
        resume: continues a run that waits, as :meth:`llmkit.pipeline.Pipeline.stream_decided`.
        decide: decides on one call; default :func:`prompt_decision`.
        reasoning: print the reasoning of the model.
    """
    while True:
        try:
            print_events(events, reasoning=reasoning)
            return
        except ApprovalNeeded as needed:
            decisions = [(decide or prompt_decision)(request) for request in needed.requests]
            events = resume(needed, decisions)


def prompt_decision(request: Request) -> Decision:
    """Show a call with all of its arguments as JSON, and ask. No answer rejects the call."""
    click.echo(f"\nThe agent wants to call {request.tool} with:", err=True)
    for name, value in request.arguments.items():
        click.echo(f"  {name}: {json.dumps(value)}", err=True)
    click.echo(f"  ({request.why})", err=True)
    try:
        reply = click.prompt("y: approve, n: reject, e: edit the arguments", default="n", err=True).strip().lower()
        if reply in ("y", "yes"):
            return Decision("approve")
        if reply in ("e", "edit"):
            return _prompt_arguments(request)
        reason = "" if reply in ("n", "no") else reply
        return Decision("reject", reason)
    except (click.Abort, EOFError):
        return Decision("reject")


def _prompt_arguments(request: Request) -> Decision:
    while True:
        text = click.prompt("arguments as JSON", default=json.dumps(dict(request.arguments)), err=True)
        try:
            value: Any = json.loads(text)
        except ValueError as error:
            click.echo(f"not JSON: {error}", err=True)
            continue
        if isinstance(value, dict):
            return Decision("edit", arguments=value)
        click.echo("expected a JSON object", err=True)
