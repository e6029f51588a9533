"""Which encoder the vectors of a generation were made with.

A knowledge base begins with the encoder it was made with. Each re-encoding with another encoder, and each rollback over
one, begins a new embedding space: from its generation on, chunks have rows from `first_row` up, whose vectors are of
the new encoder. Rows below it belong to earlier spaces, and older generations are searched with the encoders of those.
"""

from __future__ import annotations

import hashlib
import json
import threading
from dataclasses import dataclass
from typing import Any

from llmkit.encoders.identity import same_space
from llmkit.errors import KnowledgeError, UnsupportedPrecision
from llmkit.knowledge.notes import Notes
from llmkit.part import Part
from llmkit.protocols import Encoder
from llmkit.registry import one_of
from llmkit.types import Chunk


@dataclass(frozen=True, slots=True)
class EmbeddingSpace:
    """Vectors that may be compared: those of one encoder."""

    born: int
    """The generation it began in."""
    first_row: int
    encoder: str
    """Configuration of the encoder, JSON."""
    identity: str
    dim: int

    @classmethod
    def of_encoder(cls, born: int, first_row: int, encoder: Encoder) -> EmbeddingSpace:
        """The space that an encoder begins."""
        config: dict[str, Any] = encoder.config() if isinstance(encoder, Part) else {}
        return cls(born, first_row, json.dumps(config), encoder.identity, encoder.dim)


class Encoders:
    """The encoder of each embedding space, loaded once and checked against the identity that was written down."""

    def __init__(self, location: str, given: Encoder | None = None) -> None:
        """Name the knowledge base for messages; `given` replaces the first one that is written down."""
        self._location = location
        self._given = given
        self._lock = threading.RLock()
        self._loaded: dict[EmbeddingSpace, tuple[Encoder, str]] = {}
        self._first: EmbeddingSpace | None = None

    def expect(self, space: EmbeddingSpace) -> None:
        """Let the encoder that was given be the one of this space; only the first call counts."""
        self._first = self._first or space

    def of(self, space: EmbeddingSpace, notes: Notes | None = None) -> Encoder:
        """The encoder of a space; what the user should know of it is added to `notes` when it is loaded.

        Raises:
            KnowledgeError: it is not the model that the vectors were made with.
        """
        with self._lock:
            if space not in self._loaded:
                given = self._given if self._first in (None, space) else self._same(space)
                self._loaded[space] = encoder_of(space, given, self._location)
                if notes is not None and self._loaded[space][1]:
                    notes.add(self._loaded[space][1])
            return self._loaded[space][0]

    def put(self, space: EmbeddingSpace, encoder: Encoder) -> None:
        """Use this encoder for a space that was just begun with it."""
        with self._lock:
            self._loaded[space] = encoder, ""

    def _same(self, space: EmbeddingSpace) -> Encoder | None:
        """An encoder loaded for another space of the same configuration."""
        for known, (encoder, _) in self._loaded.items():
            if (known.encoder, known.identity) == (space.encoder, space.identity):
                return encoder
        return None


def encoder_of(space: EmbeddingSpace, given: Encoder | None, location: str) -> tuple[Encoder, str]:
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
            f"{location} was made with the encoder {space.identity}, this one is {encoder.identity}: their "
            f"vectors cannot be compared. Use the same model, or ingest into a new knowledge base{changed}"
        )
    notes.append(f"vectors were made by {space.identity}, questions are encoded by {identity}")
    return encoder, "; ".join(notes)


def passage_key(identity: str, chunk: Chunk) -> bytes:
    """The key under which a chunk's vector is found again: a digest of the encoder, but its precision, and the text."""
    space = identity.rpartition("/")[0]
    return hashlib.blake2b(f"{space}\n{chunk.indexed_text}".encode(), digest_size=16).digest()
