"""Value types for the status of a knowledge base: its totals, and the outcome for every file and character."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from llmkit import notebook


@dataclass(frozen=True, slots=True)
class FileStatus:
    """The status of one source: a file, or documents that were added through the API under one name."""

    name: str
    path: str
    kind: str
    status: str
    reason: str
    """Why the source is incomplete: the last error, rejected rows, or what the loader left out."""
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
    """The status of the whole knowledge base."""

    path: str
    generation: int
    at: str
    """Time of the last commit, UTC."""
    encoder: str
    words: tuple[str, ...]
    """Names of the dictionaries that the encoder uses."""
    documents: int
    chunks: int
    embedded: int
    """Chunks that have a vector: all of them, unless something is broken."""
    language: str
    """Language of the stemmer of the BM25 index."""
    duplicates: int
    """Number of documents that are near duplicates of others and therefore not indexed."""
    files: dict[str, int]
    """Number of files by status."""
    characters: dict[str, int]
    """Number of characters by outcome: indexed, or dropped for a reason."""
    bytes: dict[str, int] = field(default_factory=dict)
    """Size on disk in bytes: catalogue, vectors, vector index, BM25 index."""
    vectors: str = ""
    """How the vectors are searched, and with what recall."""
    index: dict[str, Any] | None = None
    """The certificate of the vector index, if there is one."""
    notes: tuple[str, ...] = ()
    """Messages for the user about the encoder or the BM25 index."""

    def _repr_html_(self) -> str:
        """A table for a notebook."""
        return notebook.mapping(asdict(self), caption="Knowledge base")
