"""Passages and documents as JSON for people to read."""

from __future__ import annotations

from typing import Any

from llmkit.types import Document, Hit

CONTEXT = 20_000  # characters shown on either side of a passage


def document_window(document: Document, start: int, end: int) -> dict[str, Any]:
    """Return a document's text around ``[start, end)`` in three pieces: before, passage, after.

    Offsets count code points, and JavaScript counts UTF-16 units. The server cuts the text, so that clients need not
    count.
    """
    text = document.text
    start = min(start, len(text))
    end = min(max(start, end), len(text))
    first, last = max(0, start - CONTEXT), min(len(text), end + CONTEXT)
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
    """Return a hit as a JSON object; `n` is its number in the list, from 1."""
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
