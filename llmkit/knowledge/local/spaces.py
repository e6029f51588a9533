"""Embedding spaces as the catalogue keeps them."""

from __future__ import annotations

import sqlite3
from collections.abc import Sequence

from llmkit.knowledge.embedding_spaces import EmbeddingSpace
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.vectors import segments
from llmkit.knowledge.local.vectors.segments import Segment


def every(catalog: Catalog) -> list[EmbeddingSpace]:
    """All embedding spaces, oldest first."""
    meta = catalog.meta()
    first = EmbeddingSpace(0, 0, meta["encoder"], meta["identity"], int(meta["dim"]))
    more = catalog.rows("SELECT born, first_row, encoder, identity, dim FROM spaces ORDER BY born")
    return [first, *(EmbeddingSpace(*row) for row in more)]


def at(catalog: Catalog, generation: int) -> EmbeddingSpace:
    """The embedding space of a generation."""
    return [space for space in every(catalog) if space.born <= generation][-1]


def of_segment(spaces: Sequence[EmbeddingSpace], segment: Segment) -> EmbeddingSpace:
    """The embedding space of a vector file: no file holds rows of two."""
    return of_row(spaces, segment.runs.last)


def of_row(spaces: Sequence[EmbeddingSpace], row: int) -> EmbeddingSpace:
    """The embedding space of a chunk's row."""
    return [space for space in spaces if space.first_row <= row][-1]


def listed(catalog: Catalog, space: EmbeddingSpace) -> list[Segment]:
    """The vector files of one space, in order of their rows."""
    known = every(catalog)
    return [segment for segment in segments.listed(catalog) if of_segment(known, segment) == space]


def record(db: sqlite3.Connection, space: EmbeddingSpace) -> None:
    """Begin a space in the open transaction."""
    db.execute(
        "INSERT INTO spaces (born, first_row, encoder, identity, dim) VALUES (?, ?, ?, ?, ?)",
        (space.born, space.first_row, space.encoder, space.identity, space.dim),
    )
