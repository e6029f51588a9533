"""Text and JSON for the terminal."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable
from typing import Any

import click

from llmkit.types import Chunk

_CONTROLS = {n: "\ufffd" for n in (*range(0x20), *range(0x7F, 0xA0)) if chr(n) not in "\t\n"}


def print_json(value: Any) -> None:
    """Print one JSON value on one line of stdout."""
    click.echo(json.dumps(value, ensure_ascii=False))


def print_notes(texts: Iterable[str]) -> None:
    """Print each text as a line ``note: …`` on stderr."""
    for text in texts:
        click.echo(f"note: {text}", err=True)


def print_note(text: str) -> None:
    """Print one line of progress or advice on stderr, without a prefix."""
    click.echo(text, err=True)


def stderr_is_terminal() -> bool:
    """Whether stderr is a terminal, where a line can be overwritten."""
    return sys.stderr.isatty()


def duration(seconds: float) -> str:
    """``84 ms``, ``1.9 s``."""
    return f"{seconds * 1000:.0f} ms" if seconds < 1 else f"{seconds:.1f} s"


def plural(count: int, noun: str, many: str = "") -> str:
    """``1 document``, ``2 documents``; `many` is the plural where it does not end in s."""
    return f"{count} {noun if count == 1 else many or f'{noun}s'}"


def location(chunk: Chunk) -> str:
    """``report.pdf, page 3, Results › Table 2``."""
    page = f"page {chunk.page}" if chunk.page is not None else ""
    words = (chunk.document, chunk.part or "", page, " › ".join(chunk.heading))
    return ", ".join(word for word in words if word)


def strip_controls(text: str) -> str:
    """Replace control characters other than tab and newline, so that text of a document cannot steer the terminal."""
    return text.translate(_CONTROLS)


def excerpt(text: str, width: int = 160) -> str:
    """The text on one line, cut at a word to `width` characters, without control characters."""
    line = strip_controls(" ".join(text.split()))
    return line if len(line) <= width else f"{line[:width].rpartition(' ')[0] or line[:width]} …"
