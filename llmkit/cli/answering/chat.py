"""The command `llmkit chat`."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import click

from llmkit.cli.common.approvals import is_attended, run_with_approvals
from llmkit.cli.common.figures import align_columns
from llmkit.cli.common.options import pipeline_kb_option, reader_option, sessions_option
from llmkit.cli.common.render import excerpt, strip_controls
from llmkit.cli.common.trace_tree import trace_lines
from llmkit.errors import Cancelled, LlmkitError

if TYPE_CHECKING:
    from llmkit.pipeline.chat.session import ChatSession

_QUOTES = '"""'
HELP = """  /sources       the passages that the last answer was given from
  /why           what every step did for the last answer: tokens, times, the question that was searched for
  /undo          take the last turn back
  /save FILE     write the conversation as Markdown
  /sessions      every session that is kept
  /quit          end; so does Ctrl-D. Ctrl-C stops an answer
  A line that ends in \\ goes on in the next one; \"\"\" begins and ends a longer text."""


@click.command("chat")
@click.argument("name", default="default")
@pipeline_kb_option
@click.option("--pipeline", default="chat", show_default=True, metavar="NAME|FILE", help="Which pipeline answers.")
@click.option("--set", "overrides", multiple=True, metavar="PATH=VALUE", help="As in steps.retrieve.k=20; repeatable.")
@reader_option
@sessions_option
@click.option("--words", default=1500, show_default=True, type=click.IntRange(50), help="Earlier words that are shown.")
def command(
    name: str, kb: str | None, pipeline: str, overrides: tuple[str, ...], reader: str | None, sessions: str, words: int
) -> None:
    """Talk with your documents; NAME is the conversation to go on with, or a new one.

    With --as, a conversation of those labels alone: what was said with other access is not shown to its model.
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
        click.echo(f"{name}: {len(session.turns)} turns; pipeline {loaded.name}; /help for commands", err=True)
        for turn in session.turns[-2:]:
            click.echo(strip_controls(f"> {turn.question}\n{turn.answer.text}\n"))
        talk(session, _read)


def talk(session: ChatSession, read: Callable[[], str | None]) -> None:
    """Questions and commands until there are no more; what goes wrong is told, and the talk goes on."""
    while (text := read()) is not None:
        if not text.strip():
            continue
        try:
            if text.startswith("/"):
                if _command(session, text):
                    return
            else:
                run_with_approvals(session.stream(text, attended=is_attended()), session.stream_decided)
                click.echo(err=True)
        except LlmkitError as error:
            click.echo(f"llmkit: {error}", err=True)
        except (KeyboardInterrupt, Cancelled):
            click.echo("\nstopped; this turn is not kept", err=True)


def _command(session: ChatSession, text: str) -> bool:
    """Obey a command; True ends the talk."""
    word, _, rest = text.strip().partition(" ")
    if word in ("/quit", "/exit", "/q"):
        return True
    if word == "/undo":
        gone = session.undo()
        click.echo(f"taken back: {gone.question}" if gone else "there is nothing to take back")
    elif word == "/sources":
        _sources(session)
    elif word == "/why":
        _why(session)
    elif word == "/sessions":
        click.echo(align_columns([(name, at, f"{count} turns") for name, at, count in session.store.names()]))
    elif word == "/save":
        _save(session, rest.strip())
    else:
        click.echo(HELP if word == "/help" else f"there is no {word}\n{HELP}")
    return False


def _sources(session: ChatSession) -> None:
    if not session.turns:
        click.echo("nothing was asked yet")
        return
    if not session.turns[-1].passages:
        click.echo("it was given from no passages")
        return
    kb = session.pipeline.open_knowledge()
    for passage in session.turns[-1].passages:
        start, end = passage["start"], passage["end"]
        try:
            told = excerpt(kb.document(passage["document"], passage["version"]).text[start:end], 400)
        except LlmkitError:
            told = "(not in the knowledge base any more)"
        click.echo(
            f"[{passage['n']}] {passage['document']}, characters {start}-{end}  {passage['score']:.3f}\n    {told}"
        )


def _why(session: ChatSession) -> None:
    if not session.turns:
        click.echo("nothing was asked yet")
        return
    for record in session.turns[-1].records:
        click.echo("\n".join(trace_lines(record)))


def _save(session: ChatSession, file: str) -> None:
    if not file:
        click.echo("say where: /save FILE")
        return
    path = Path(file).expanduser()
    if path.exists():
        click.echo(f"{path} exists: choose another name")
        return
    try:
        path.write_text(session.markdown(), encoding="utf-8")
        click.echo(f"saved to {path}")
    except OSError as error:
        click.echo(f"{path} cannot be written: {error}")


def _quoted(line: str) -> str:
    """The lines up to the one that ends with the quotes."""
    lines = []
    while not line.rstrip().endswith(_QUOTES):
        lines.append(line)
        line = input("… ")
    return "\n".join([*lines, line.rstrip().removesuffix(_QUOTES)]).strip("\n")


def _read() -> str | None:
    """A question or command, over several lines where it says so; None at the end of input."""
    try:
        line = input("> ")
        if line.lstrip().startswith(_QUOTES):
            return _quoted(line.lstrip().removeprefix(_QUOTES))
        while line.endswith("\\"):
            line = f"{line[:-1]}\n{input('… ')}"
        return line
    except EOFError:
        click.echo()
        return None
    except KeyboardInterrupt:
        click.echo()
        return ""
