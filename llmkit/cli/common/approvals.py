"""A person at the terminal decides on what an agent wants done."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any

import click

from llmkit.approval import ApprovalNeeded, Decision, Request
from llmkit.cli.answering.ask import listen

if TYPE_CHECKING:
    from llmkit.types import Event

GoOn = Callable[[ApprovalNeeded, Sequence[Decision]], "Iterator[Event]"]


def attended() -> bool:
    """Whether somebody can be asked."""
    return sys.stdin.isatty() and sys.stderr.isatty()


def listen_and_decide(events: Iterator[Event], go_on: GoOn, ask: Callable[[Request], Decision] | None = None) -> None:
    """Show an answer while it is made; where the agent waits, ask, and go on."""
    while True:
        try:
            listen(events)
            return
        except ApprovalNeeded as needed:
            decisions = [(ask or at_terminal)(request) for request in needed.requests]
            events = go_on(needed, decisions)


def at_terminal(request: Request) -> Decision:
    """Show a call, whole and without control characters, and ask; no answer is a no."""
    click.echo(f"\n{request.tool} wants to be called with:", err=True)
    for name, value in request.arguments.items():
        click.echo(f"  {name}: {json.dumps(value)}", err=True)
    click.echo(f"  ({request.why})", err=True)
    try:
        said = click.prompt("y: do it, n: do not, e: change it", default="n", err=True).strip().lower()
        if said in ("y", "yes"):
            return Decision("approve")
        if said in ("e", "edit"):
            return _edited(request)
        reason = "" if said in ("n", "no") else said
        return Decision("reject", reason)
    except (click.Abort, EOFError):
        return Decision("reject")


def _edited(request: Request) -> Decision:
    while True:
        text = click.prompt("arguments as JSON", default=json.dumps(dict(request.arguments)), err=True)
        try:
            value: Any = json.loads(text)
        except ValueError as error:
            click.echo(f"not JSON: {error}", err=True)
            continue
        if isinstance(value, dict):
            return Decision("edit", arguments=value)
        click.echo("expected an object", err=True)
