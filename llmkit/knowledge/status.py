"""What a knowledge base holds, as values: its totals, and what became of every file and character."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from llmkit import notebook


@dataclass(frozen=True, slots=True)
class FileStatus:
    """One file, or what was added through the API under one name."""

    name: str
    path: str
    kind: str
    status: str
    reason: str
    """Why it is not whole: the last error, rejected rows, what the loader left out."""
    documents: int
    chunks: int
    embedded: int
    """Chunks that have a vector."""
    indexed: int
    """Characters inside a chunk."""
    dropped: dict[str, int]
    """Characters left out, by reason."""
    truncated: int
    """Characters the encoder did not read."""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Status:
    """The whole knowledge base."""

    path: str
    generation: int
    at: str
    """When the last generation was committed, UTC."""
    encoder: str
    words: tuple[str, ...]
    """Dictionaries that the encoder reads with."""
    documents: int
    chunks: int
    embedded: int
    """Chunks that have a vector: all of them, unless something is broken."""
    language: str
    """The language words are stemmed in."""
    duplicates: int
    """Documents that are near duplicates of others, and not indexed."""
    files: dict[str, int]
    """Files by status."""
    characters: dict[str, int]
    """The ledger: characters by what became of them."""
    bytes: dict[str, int] = field(default_factory=dict)
    """Size on disk: catalogue, vectors, their index, lexical index."""
    vectors: str = ""
    """How vectors are searched, and with what recall."""
    index: dict[str, Any] | None = None
    """The certificate of the vector index, where there is one."""
    notes: tuple[str, ...] = ()
    """What the user should know: about its encoder, its lexical index."""

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        return notebook.mapping(asdict(self), caption="Knowledge base")
