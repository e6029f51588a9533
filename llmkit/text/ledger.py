"""What became of every character of a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence

from llmkit.types import Chunk, Document, Span


def ledger(document: Document, chunks: Sequence[Chunk]) -> tuple[Span, ...]:
    """Spans that tile ``document.text``: what is in a chunk, and what is not and why.

    Chunks may overlap. What lies in none is white space between them, or it is an error of the splitter and
    called by that name, never hidden.
    """
    spans: list[Span] = []
    at = 0
    for start, end in sorted((chunk.start, chunk.end) for chunk in chunks):
        if start > at:
            spans.append(_dropped(document.text, at, start))
        if end > at:
            spans.append(Span(max(start, at), end, "indexed"))
            at = end
    if at < len(document.text):
        spans.append(_dropped(document.text, at, len(document.text)))
    return tuple(spans)


def totals(spans: Iterable[Span]) -> dict[str, int]:
    """Characters by fate: ``{"indexed": 900, "dropped: white space": 12}``."""
    counts: Counter[str] = Counter()
    for span in spans:
        counts[f"{span.fate}: {span.reason}" if span.reason else span.fate] += span.end - span.start
    return dict(counts)


def _dropped(text: str, start: int, end: int) -> Span:
    blank = text[start:end].isspace()
    return Span(start, end, "dropped", "white space" if blank else "not covered by any chunk")
