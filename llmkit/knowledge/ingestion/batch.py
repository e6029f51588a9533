"""What the next commit will hold, while a writer collects it."""

from __future__ import annotations

import time
from dataclasses import dataclass, field

from llmkit.knowledge.store import NearDuplicate, SourceRow
from llmkit.types import Chunk, Document


@dataclass
class Batch:
    """Documents and sources to add, and what they replace."""

    documents: list[tuple[str, Document, list[Chunk]]] = field(default_factory=list)
    """Source, document, chunks."""
    duplicates: dict[str, NearDuplicate] = field(default_factory=dict)
    """The originals of the documents that are near duplicates, by id of these; they have no chunks."""
    sources: dict[str, SourceRow] = field(default_factory=dict)
    """By URI."""
    by_id: dict[str, tuple[str, Document]] = field(default_factory=dict)
    """Source and document, by id."""
    removed: dict[str, None] = field(default_factory=dict)
    """Ids of live documents that end, as an ordered set."""
    removed_sources: list[str] = field(default_factory=list)
    chunks: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.documents or self.sources or self.removed or self.removed_sources)
