"""What became of every character of a document."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from llmkit.types import Chunk, Document, Span


def ledger(document: Document, chunks: Sequence[Chunk]) -> tuple[Span, ...]:
    """Spans that tile ``document.text``: what is in a chunk, and what is not and why.

    Chunks may overlap. What lies in none is front matter, white space between them, or it is an error of the splitter
    and called by that name, never hidden.
    """
    fronts = [(block.start, block.end) for block in document.blocks if block.kind == "front matter"]
    spans: list[Span] = []
    at = 0
    for start, end in sorted((chunk.start, chunk.end) for chunk in chunks):
        if start > at:
            spans += _dropped(document.text, at, start, fronts)
        if end > at:
            spans.append(Span(max(start, at), end, "indexed"))
            at = end
    if at < len(document.text):
        spans += _dropped(document.text, at, len(document.text), fronts)
    return tuple(spans)


def totals(spans: Iterable[Span]) -> dict[str, int]:
    """Characters by fate: ``{"indexed": 900, "dropped: white space": 12}``."""
    counts: Counter[str] = Counter()
    for span in spans:
        counts[f"{span.fate}: {span.reason}" if span.reason else span.fate] += span.end - span.start
    return dict(counts)


def _dropped(text: str, start: int, end: int, fronts: Sequence[tuple[int, int]]) -> Iterator[Span]:
    """A run that is in no chunk, cut where front matter begins and ends."""
    for first, last in fronts:
        if start <= first < last <= end:
            if start < first:
                yield _span(text, start, first)
            yield Span(first, last, "dropped", "front matter")
            start = last
    if start < end:
        yield _span(text, start, end)


def _span(text: str, start: int, end: int) -> Span:
    blank = text[start:end].isspace()
    return Span(start, end, "dropped", "white space" if blank else "not covered by any chunk")
