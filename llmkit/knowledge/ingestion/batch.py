"""What the next generation will hold, and how it gets into the catalogue."""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge import access_labels
from llmkit.knowledge.ingestion.near_duplicates import Twin, blocks_as_json
from llmkit.text.ledger import ledger, totals
from llmkit.types import Chunk, Document

NEAR_DUPLICATE = "dropped: near duplicate"
"""What became of the characters of one; its original is not named here, so that it can be forgotten."""


@dataclass
class Batch:
    """What the next generation will hold."""

    documents: list[tuple[str, Document, list[Chunk]]] = field(default_factory=list)
    """Source, document, chunks."""
    twins: dict[str, Twin] = field(default_factory=dict)
    """Of the documents that are near duplicates, by id: they have no chunks."""
    sources: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """What is noted of a source, by URI."""
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Source and version of the documents, by id."""
    given: dict[str, Document] = field(default_factory=dict)
    """The documents by id."""
    dead_documents: dict[int, None] = field(default_factory=dict)
    """Their seqs, as an ordered set."""
    dead_sources: list[str] = field(default_factory=list)
    chunks: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def empty(self) -> bool:
        """Whether there is nothing to commit."""
        return not (self.documents or self.sources or self.dead_documents or self.dead_sources)


def insert(
    db: sqlite3.Connection,
    generation: int,
    batch: Batch,
    ids: NDArray[np.int64],
    keys: list[bytes],
    signatures: dict[str, bytes],
) -> None:
    """Write sources, documents and chunks (rows and keys, one each) into the open transaction.

    `signatures` are those of documents for the comparison with near duplicates, by id; what is written is taken out.
    """
    db.executemany(
        """INSERT INTO sources (uri, root, name, kind, sha256, size, status, reason, access, born)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [(*row, generation) for row in batch.sources.values()],
    )
    at = 0
    for source, document, chunks in batch.documents:
        twin = batch.twins.get(document.id)
        fates = {NEAR_DUPLICATE: len(document.text)} if twin else totals(ledger(document, chunks))
        cursor = db.execute(
            """INSERT INTO documents (id, source, title, text, version, metadata, notes, fates, access, born)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                document.id, source, document.title, document.text, document.version,
                json.dumps(document.metadata, ensure_ascii=False), json.dumps(document.notes), json.dumps(fates),
                access_labels.written(document.access), generation,
            ),
        )  # fmt: skip
        seq = cursor.lastrowid
        if twin:
            db.execute(
                "INSERT INTO duplicates VALUES (?, ?, ?, ?, ?)",
                (seq, twin.original, twin.version, twin.similarity, blocks_as_json(document)),
            )
        elif document.id in signatures:
            db.execute("INSERT INTO signatures VALUES (?, ?)", (seq, signatures.pop(document.id)))
        db.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [
                (
                    row, seq, chunk.ordinal, chunk.start, chunk.end, chunk.text, chunk.tokens, chunk.title,
                    json.dumps(chunk.heading, ensure_ascii=False), chunk.page, chunk.part, key, generation,
                )
                for row, chunk, key in zip(ids[at:].tolist(), chunks, keys[at:], strict=False)
            ],
        )  # fmt: skip
        at += len(chunks)
