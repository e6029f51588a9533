"""The command `llmkit chat`."""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.common.approvals import is_attended, run_with_approvals
from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.options import pipeline_kb_option, reader_option, reasoning_option, sessions_option, set_option
from llmkit.cli.common.render import excerpt, strip_controls
from llmkit.cli.common.trace_tree import trace_lines
from llmkit.errors import Cancelled, LlmkitError

if TYPE_CHECKING:
    from llmkit.pipeline.chat.session import ChatSession

_QUOTES = '"""'
HELP = """  /sources       show the passages that the last answer was given from
  /why           show what every step did for the last answer: tokens, times, the query that was searched for
  /undo          remove the last turn from the conversation
  /save FILE     write the conversation to a Markdown file
  /sessions      list all conversations
  /quit          leave; so does Ctrl-D. Ctrl-C stops an answer
  End a line with \\ to continue on the next line; \"\"\" begins and ends a text of several lines."""


@click.command("chat")
@click.argument("name", default="default")
@pipeline_kb_option
@click.option("--pipeline", default="chat", show_default=True, metavar="NAME|FILE", help="Pipeline that answers.")
@set_option("the pipeline", "steps.retrieve.k=20")
@reader_option
@sessions_option
@reasoning_option
@click.option(
    "--words",
    default=1500,
    show_default=True,
    type=click.IntRange(50),
    help="How many words of earlier turns the pipeline is given.",
)
def command(
    name: str,
    kb: str | None,
    pipeline: str,
    overrides: tuple[str, ...],
    reader: str | None,
    sessions: str,
    reasoning: bool,
    words: int,
) -> None:
    """Ask questions that may refer to earlier ones. NAME is the conversation to continue, or a new one.

    With --as, the conversation is separate: its model never sees turns that were made with other access labels.
    """
    from llmkit.pipeline import load_pipeline
    from llmkit.pipeline.chat.session import ChatSession
    from llmkit.pipeline.chat.session_store import SessionStore

    loaded = load_pipeline(pipeline, overrides, knowledge=kb)
    if reader is not None:
        loaded = loaded.as_reader(reader)
        name = "@".join([name, *(loaded.open_knowledge().reader or ("nobody",))])
    elif loaded.reads_knowledge:
        loaded.open_knowledge()
    with suppress(ImportError):
        import readline  # noqa: F401  (arrow keys and history for input())
    with SessionStore(Path(sessions)) as store:
        session = ChatSession(loaded, store, name, words=words)
        click.echo(f"{name}: {len(session.turns)} turns; pipeline {loaded.name}; /help lists the commands", err=True)
        for turn in session.turns[-2:]:
            click.echo(strip_controls(f"> {turn.question}\n{turn.answer.text}\n"))
        talk(session, _read, reasoning=reasoning)


def talk(session: ChatSession, read: Callable[[], str | None], *, reasoning: bool = False) -> None:
    """Answer questions and run commands until `read` returns None. Errors are printed and do not end the loop."""
    while (text := read()) is not None:
        if not text.strip():
            continue
        try:
            if text.startswith("/"):
                if _run_command(session, text):
                    return
            else:
                events = session.stream(text, attended=is_attended())
                run_with_approvals(events, session.stream_decided, reasoning=reasoning)
                click.echo(err=True)
        except LlmkitError as error:
            click.echo(f"llmkit: {error}", err=True)
        except (KeyboardInterrupt, Cancelled):
            click.echo("\nstopped; this turn is not kept", err=True)


def _run_command(session: ChatSession, text: str) -> bool:
    """Run a command of the chat; True ends the conversation."""
    word, _, rest = text.strip().partition(" ")
    if word in ("/quit", "/exit", "/q"):
        return True
    if word == "/undo":
        turn = session.undo()
        click.echo(f"removed: {turn.question}" if turn else "there is no turn to remove")
    elif word == "/sources":
        _print_sources(session)
    elif word == "/why":
        _print_trace(session)
    elif word == "/sessions":
        click.echo(align_columns([(name, at, f"{count} turns") for name, at, count in session.store.names()]))
    elif word == "/save":
        _save(session, rest.strip())
    else:
        click.echo(HELP if word == "/help" else f"unknown command {word}\n{HELP}")
    return False


def _print_sources(session: ChatSession) -> None:
    if not session.turns:
        click.echo("no question was asked yet")
        return
    if not session.turns[-1].passages:
        click.echo("the last answer used no passages")
        return
    kb = session.pipeline.open_knowledge()
    for passage in session.turns[-1].passages:
        start, end = passage["start"], passage["end"]
        try:
            text = excerpt(kb.document(passage["document"], passage["version"]).text[start:end], 400)
        except LlmkitError:
            text = "(not in the knowledge base any more)"
        click.echo(
            f"[{passage['n']}] {passage['document']}, characters {start}-{end}  {passage['score']:.3f}\n    {text}"
        )


def _print_trace(session: ChatSession) -> None:
    if not session.turns:
        click.echo("no question was asked yet")
        return
    for record in session.turns[-1].records:
        click.echo("\n".join(trace_lines(record)))


def _save(session: ChatSession, file: str) -> None:
    if not file:
        click.echo("name a file: /save FILE")
        return
    path = Path(file).expanduser()
    if path.exists():
        click.echo(f"{path} exists: name another file")
        return
    try:
        path.write_text(session.markdown(), encoding="utf-8")
        click.echo(f"saved to {path}")
    except OSError as error:
        click.echo(f"{path} cannot be written: {error}")


def _read_quoted(line: str) -> str:
    """Read lines up to the one that ends with three quotes."""
    lines = []
    while not line.rstrip().endswith(_QUOTES):
        lines.append(line)
        line = _prompt("… ")
    return "\n".join([*lines, line.rstrip().removesuffix(_QUOTES)]).strip("\n")


def _prompt(text: str) -> str:
    """Read a line. The prompt is printed on a terminal only: stdout of a pipe holds answers and nothing else."""
    return input(text if sys.stdin.isatty() else "")


def _read() -> str | None:
    """Read a question or command, of one or several lines; None at the end of input."""
    try:
        line = _prompt("> ")
        if line.lstrip().startswith(_QUOTES):
            return _read_quoted(line.lstrip().removeprefix(_QUOTES))
        while line.endswith("\\"):
            line = f"{line[:-1]}\n{_prompt('… ')}"
        return line
    except EOFError:
        click.echo(err=True)
        return None
    except KeyboardInterrupt:
        click.echo(err=True)
        return ""
