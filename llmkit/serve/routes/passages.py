"""Passages and documents for people to read, cut where clients need not count characters."""

from __future__ import annotations

from typing import Any

from llmkit.types import Document, Hit

AROUND = 20_000  # characters shown on either side


def window(document: Document, start: int, end: int) -> dict[str, Any]:
    """A document's text around ``[start, end)``. Offsets count code points, which JavaScript does not: hence pieces."""
    text = document.text
    start = min(start, len(text))
    end = min(max(start, end), len(text))
    first, last = max(0, start - AROUND), min(len(text), end + AROUND)
    return {
        "id": document.id,
        "title": document.title,
        "version": document.version,
        "characters": len(text),
        "left_before": first,
        "before": text[first:start],
        "passage": text[start:end],
        "after": text[end:last],
        "left_after": len(text) - last,
        "notes": list(document.notes),
    }


def passage_row(n: int, hit: Hit) -> dict[str, Any]:
    """A hit as JSON values."""
    chunk = hit.chunk
    return {
        "n": n,
        "document": chunk.document,
        "version": chunk.version,
        "chunk": chunk.id,
        "start": chunk.start,
        "end": chunk.end,
        "title": chunk.title,
        "heading": list(chunk.heading),
        "page": chunk.page,
        "text": chunk.text,
        "score": hit.score,
        "scores": dict(hit.scores),
    }
