"""The documented JSON form of a citation: of the terminal and of the server alike."""

from __future__ import annotations

from typing import Any

from llmkit.types import Citation


def citation_to_json(citation: Citation) -> dict[str, Any]:
    """A citation; offsets count code points of the document's text."""
    return {
        "n": citation.n,
        "document": citation.document,
        "version": citation.version,
        "start": citation.start,
        "end": citation.end,
        "quote": citation.quote,
        "supported": citation.supported,
        "reason": citation.reason,
    }
