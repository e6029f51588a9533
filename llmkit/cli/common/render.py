"""What the commands have in common: where the knowledge base is, JSON out, plain text for people."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable
from typing import Any

import click

from llmkit.types import Chunk, State

_CONTROLS = {n: "\ufffd" for n in (*range(0x20), *range(0x7F, 0xA0)) if chr(n) not in "\t\n"}
kb_option = click.option(
    "--kb",
    metavar="DIR",
    default=lambda: os.environ.get("LLMKIT_KB") or ".llmkit/kb",
    show_default="LLMKIT_KB or .llmkit/kb",
    help="Folder of the knowledge base.",
)
asked_kb_option = click.option(
    "--kb",
    metavar="DIR",
    default=lambda: os.environ.get("LLMKIT_KB") or None,
    show_default="LLMKIT_KB, else what the pipeline names",
    help="Folder of the knowledge base.",
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON and nothing else on stdout.")
as_of_option = click.option(
    "--as-of", metavar="GENERATION|DATE", help="Read an older generation, as in 12 or 2026-03-01."
)
as_option = click.option(
    "--as",
    "reader",
    metavar="LABELS",
    help="Show only what holders of these access labels may read, as in hr,board.",
)
sessions_option = click.option(
    "--sessions",
    metavar="FILE",
    default=".llmkit/sessions.sqlite",
    show_default=True,
    envvar="LLMKIT_SESSIONS",
    help="Where conversations are kept.",
)
where_option = click.option("--where", metavar="FILTER", help="Only passages that pass, as in 'type == \"pdf\"'.")


def print_json(value: Any) -> None:
    """One JSON value on stdout, on one line."""
    click.echo(json.dumps(value, ensure_ascii=False))


def notes(texts: Iterable[str]) -> None:
    """What the user should know, on stderr."""
    for text in texts:
        click.echo(f"note: {text}", err=True)


def interactive() -> bool:
    """Whether a person is watching stderr."""
    return sys.stderr.isatty()


def duration(seconds: float) -> str:
    """``84 ms``, ``1.9 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def location(chunk: Chunk) -> str:
    """``report.pdf, page 3, Results › Table 2``."""
    page = f"page {chunk.page}" if chunk.page is not None else ""
    words = (chunk.document, chunk.part or "", page, " › ".join(chunk.heading))
    return ", ".join(word for word in words if word)


def harmless(text: str) -> str:
    """The text without control characters but tabs and line ends: text by others must not steer a terminal."""
    return text.translate(_CONTROLS)


def excerpt(text: str, width: int = 160) -> str:
    """The text on one line, cut at a word, without control characters."""
    line = harmless(" ".join(text.split()))
    return line if len(line) <= width else f"{line[:width].rpartition(' ')[0] or line[:width]} …"


def answer_row(state: State, name: str, seconds: float) -> dict[str, Any]:
    """The documented JSON form of an answer."""
    from llmkit.pipeline.citation_json import citation_to_json

    answer = state.answer
    return {
        "id": name,
        "question": state.question,
        "answer": answer.text if answer else "",
        "citations": [citation_to_json(citation) for citation in answer.citations] if answer else [],
        "abstained": answer.abstained if answer else True,
        "unsupported": list(answer.unsupported) if answer else [],
        "hits": [
            {
                "document": hit.chunk.document,
                "chunk": hit.chunk.id,
                "score": hit.score,
                "start": hit.chunk.start,
                "end": hit.chunk.end,
            }
            for hit in state.hits
        ],
        "notes": [note for record in state.records for note in record.detail.get("notes", ())],
        "seconds": round(seconds, 4),
    }
