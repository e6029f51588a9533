"""Which encoder the vectors of a generation were made with.

A knowledge base begins with the encoder it was made with. Each adoption (or rollback over one) adds a space: from its
generation on, chunks have rows from `first_row` up, whose vectors are of its encoder. Rows below it belong to the
spaces before, and older generations go on being asked with theirs.
"""

from __future__ import annotations

import hashlib
import json
import sqlite3
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.encoders.identity import same_space
from llmkit.errors import KnowledgeError, UnsupportedPrecision
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.vectors import segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.part import Part
from llmkit.protocols import Encoder
from llmkit.registry import one_of
from llmkit.types import Chunk

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase


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
    return of_row(spaces, segment.runs.last)


def of_row(spaces: Sequence[Space], row: int) -> Space:
    """That of a chunk's row."""
    return [space for space in spaces if space.first_row <= row][-1]


def listed(catalog: Catalog, space: Space) -> list[Segment]:
    """The vector files of one space, in order of their rows."""
    known = every(catalog)
    return [segment for segment in segments.listed(catalog) if of_segment(known, segment) == space]


def encoder_of(space: Space, given: Encoder | None, path: Path) -> tuple[Encoder, str]:
    """The encoder given, or the one that is written down, and what the user should know of it.

    A knowledge base may record a precision that this machine does not compute in. Its own encoder then runs in another
    one, because vectors of one model in bf16 and f32 can be compared; an encoder that the caller gives is not changed.

    Raises:
        KnowledgeError: it is not the model that the vectors were made with.
        UnsupportedPrecision: this machine does not compute in the precision of the encoder given.
    """
    encoder: Any = given or one_of("encoder").parse(json.loads(space.encoder))
    notes: list[str] = []
    try:
        identity = encoder.identity
    except UnsupportedPrecision as error:
        if given is not None:
            raise
        encoder = encoder.replace(runtime="auto", precision="auto")
        identity = encoder.identity
        notes.append(str(error))
    notes += getattr(encoder, "notes", ())
    if identity == space.identity:
        return encoder, "; ".join(notes)
    if not same_space(encoder.identity, space.identity):
        words = getattr(encoder, "words", ())
        changed = (
            f", unless a dictionary has changed since ({', '.join(words)}): bring it back as it was" if words else ""
        )
        raise KnowledgeError(
            f"{path} was made with the encoder {space.identity}, this one is {encoder.identity}: their "
            f"vectors cannot be compared. Use the same model, or ingest into a new knowledge base{changed}"
        )
    notes.append(f"vectors were made by {space.identity}, questions are encoded by {identity}")
    return encoder, "; ".join(notes)


def moved(kb: KnowledgeBase, generation: int, encoder: Encoder | None) -> None:
    """Let `kb` show a generation that was committed with another encoder; None: the one that is written down."""
    kb.generation, kb.given_encoder = generation, encoder
    kb.__dict__.pop("encoder", None)
    kb.reread()


def passage_key(identity: str, chunk: Chunk) -> bytes:
    """Under what a vector is found again: the encoder but for its precision, and the text."""
    space = identity.rpartition("/")[0]
    return hashlib.blake2b(f"{space}\n{chunk.indexed_text}".encode(), digest_size=16).digest()


def record(db: sqlite3.Connection, space: Space) -> None:
    """Begin a space in the open transaction."""
    db.execute(
        "INSERT INTO spaces (born, first_row, encoder, identity, dim) VALUES (?, ?, ?, ?, ?)",
        (space.born, space.first_row, space.encoder, space.identity, space.dim),
    )
