"""Which encoder the vectors of a generation were made with.

A knowledge base begins with the encoder it was made with. Each adoption (or rollback over one) adds a space: from its
generation on, chunks have rows from `first_row` up, whose vectors are of its encoder. Rows below it belong to the
spaces before, and older generations go on being asked with theirs.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from llmkit.knowledge import segments
from llmkit.knowledge.catalog import Catalog
from llmkit.knowledge.segments import Segment
from llmkit.part import Part
from llmkit.protocols import Encoder


@dataclass(frozen=True, slots=True)
class Space:
    """Vectors that may be compared: those of one encoder."""

    born: int
    """The generation it began in."""
    first_row: int
    encoder: str
    """Configuration of the encoder, JSON."""
    identity: str
    dim: int

    @classmethod
    def of_encoder(cls, born: int, first_row: int, encoder: Encoder) -> Space:
        """The space that an encoder opens."""
        config: dict[str, Any] = encoder.config() if isinstance(encoder, Part) else {}
        return cls(born, first_row, json.dumps(config), encoder.identity, encoder.dim)


def every(catalog: Catalog) -> list[Space]:
    """All of them, oldest first."""
    meta = catalog.meta()
    first = Space(0, 0, meta["encoder"], meta["identity"], int(meta["dim"]))
    more = catalog.rows("SELECT born, first_row, encoder, identity, dim FROM spaces ORDER BY born")
    return [first, *(Space(*row) for row in more)]


def at(catalog: Catalog, generation: int) -> Space:
    """That of a generation."""
    return [space for space in every(catalog) if space.born <= generation][-1]


def of_segment(spaces: Sequence[Space], segment: Segment) -> Space:
    """That of a vector file: no file holds rows of two."""
    return [space for space in spaces if space.first_row <= segment.runs.last][-1]


def listed(catalog: Catalog, space: Space) -> list[Segment]:
    """The vector files of one space, in order of their rows."""
    known = every(catalog)
    return [segment for segment in segments.listed(catalog) if of_segment(known, segment) == space]


def record(db: sqlite3.Connection, space: Space) -> None:
    """Begin a space in the open transaction."""
    db.execute(
        "INSERT INTO spaces (born, first_row, encoder, identity, dim) VALUES (?, ?, ?, ?, ?)",
        (space.born, space.first_row, space.encoder, space.identity, space.dim),
    )
