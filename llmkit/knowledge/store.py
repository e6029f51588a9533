"""What keeps a knowledge base: two protocols and the values they exchange. No SQL and no files.

A :class:`Store` knows where a knowledge base lives and how it changes. A :class:`Snapshot` shows one generation and
never changes. :class:`llmkit.knowledge.knowledge_base.KnowledgeBase` adds an encoder, a splitter and the current
snapshot. The package :mod:`llmkit.knowledge.local` keeps a knowledge base in a folder; another store is another package
beside it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.embedding_spaces import EmbeddingSpace
from llmkit.knowledge.notes import Notes
from llmkit.knowledge.recall_bound import Certificate
from llmkit.knowledge.status import FileStatus, Status
from llmkit.knowledge.vector_settings import VectorSettings
from llmkit.protocols import Encoder, Ranking, Where
from llmkit.types import Chunk, Document

Capability = Literal["bm25", "exact", "as_of", "private_statistics", "erase", "vector_index"]
"""bm25: BM25 search; exact: exact dense search on request; as_of: older generations can be searched;
private_statistics: a reader's BM25 scores depend on nothing the reader may not see; erase: no byte of a forgotten
document stays; vector_index: an approximate index with a certified recall can be built."""


class SnapshotExpired(KnowledgeError):
    """A compaction or a forgotten document took rows away that a snapshot still shows."""


@dataclass(frozen=True, slots=True)
class Generation:
    """One commit."""

    id: int
    at: str
    """When, UTC."""
    note: str
    readable: bool
    """Whether it can still be opened; generations before the last compaction cannot."""
    added: int
    """Documents born in it, new versions of others included."""
    removed: int
    """Documents that died in it, old versions included."""


@dataclass(frozen=True, slots=True)
class Diff:
    """Ids of documents that differ between two generations."""

    added: tuple[str, ...]
    removed: tuple[str, ...]
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SourceRow:
    """A file that was read, or could not be."""

    uri: str
    """Path of the file."""
    root: str
    """The folder it was found in."""
    name: str
    """Path below the root."""
    kind: str
    sha256: str
    size: int
    status: str
    reason: str
    """Why it was not read whole."""
    access: tuple[str, ...] = ()
    """Labels of its readers; empty: everybody."""


@dataclass(frozen=True, slots=True)
class LiveDocument:
    """A document of a snapshot, without its text."""

    id: str
    source: str
    version: str
    is_duplicate: bool
    """Whether it is a near duplicate of another document, and has no chunks."""


@dataclass(frozen=True, slots=True)
class NearDuplicate:
    """The document that another one nearly repeats."""

    original: str
    """Its id."""
    version: str
    similarity: float
    """Jaccard similarity of the word 5-grams of both, exact."""


@dataclass(frozen=True, slots=True)
class NewDocument:
    """A document to add, with the chunks that will be indexed."""

    source: str
    document: Document
    chunks: Sequence[Chunk]
    duplicate_of: NearDuplicate | None = None
    """Set where the document is a near duplicate; it has no chunks then."""
    signature: bytes | None = None
    """MinHash of its word 5-grams, where near duplicates are looked for."""


@dataclass(slots=True)
class Change:
    """What one commit does."""

    documents: list[NewDocument] = field(default_factory=list)
    vectors: NDArray[np.float32] = field(default_factory=lambda: np.empty((0, 0), dtype=np.float32))
    """Of all chunks of `documents`, in their order, (n, dim)."""
    keys: list[bytes] = field(default_factory=list)
    """Keys of the vectors; see :func:`llmkit.knowledge.embedding_spaces.passage_key`."""
    removed: Sequence[str] = ()
    """Ids of live documents that end, those that are replaced included."""
    sources: list[SourceRow] = field(default_factory=list)
    removed_sources: Sequence[str] = ()
    """URIs of sources whose entry ends, those that are replaced included."""
    language: str = ""
    """The language that was detected from the first texts; empty where nothing is to be written down."""


@dataclass(frozen=True, slots=True)
class Erased:
    """What an erasure or a compaction took away."""

    documents: int
    """Versions of documents."""
    chunks: int
    bytes: int
    """By how much the store has shrunk."""
    namesakes: tuple[str, ...] = ()
    """Older names, in use no more, of the same text: forgotten with it."""
    copies: tuple[str, ...] = ()
    """Documents that hold the same text under another name and stay."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it should be."""

    part: Literal["catalogue", "vectors", "index", "lexical"]
    what: str
    repairable: bool
    """Whether a repair makes it whole from the catalogue."""


@dataclass(frozen=True, slots=True)
class Reencoded:
    """What a re-encoding did."""

    old: str
    """Identity of the encoder that was in use."""
    new: str
    generation: int
    chunks: int
    """Passages that were encoded."""


class Snapshot(Protocol):
    """One generation, as its owner or as one reader sees it. Immutable, and safe to share between threads.

    A snapshot stays valid while others commit. Only a compaction or a forgotten document takes rows away from it:
    reading such a row raises :class:`SnapshotExpired`.
    """

    @property
    def generation(self) -> int:
        """The generation that is shown."""
        ...

    @property
    def reader(self) -> tuple[str, ...] | None:
        """Access labels of the reader; None for the owner, who sees everything."""
        ...

    @property
    def language(self) -> str:
        """ISO 639-1 code of the language in which words are stemmed."""
        ...

    @property
    def space(self) -> EmbeddingSpace:
        """The embedding space of the vectors."""
        ...

    @property
    def encoder(self) -> Encoder:
        """The encoder of that space, loaded when first used."""
        ...

    @property
    def notes(self) -> Notes:
        """What the user should know of what was found while loading."""
        ...

    @property
    def count(self) -> int:
        """Live chunks."""
        ...

    def snapshot(self) -> Snapshot:
        """Itself, so that a function can take a knowledge base or a snapshot."""
        ...

    def load(self) -> None:
        """Load the encoder, the vectors and the BM25 index now instead of at the first search."""
        ...

    def search_dense(
        self, queries: NDArray[np.float32], k: int, where: Where = None, *, exact: bool = False
    ) -> list[Ranking]:
        """Rows and inner products of the k nearest chunks for each query (n, dim), of those that pass `where`."""
        ...

    def search_bm25(self, queries: Sequence[str], k: int, where: Where = None) -> list[Ranking]:
        """Rows and BM25 scores of the k best chunks for each query, of those that pass `where`."""
        ...

    def chunks(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Chunk]:
        """Chunks by row, in the order given."""
        ...

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by row, (n, dim), in the order given."""
        ...

    def live_rows(self, where: Where = None) -> NDArray[np.int64]:
        """Rows of the live chunks, of those that pass `where`, ascending, shape (n,)."""
        ...

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Rows of the chunks of these documents, in the order of the ids and of the text; unknown ids have none."""
        ...

    def whole_document(self, row: int) -> tuple[str, tuple[Chunk, ...]]:
        """Text and all chunks, in order, of the version of a document that a chunk belongs to."""
        ...

    def document(self, name: str, version: str | None = None) -> Document | None:
        """The live version of a document, or the version named, of any generation; None where there is none."""
        ...

    def documents(self, ids: Sequence[str] | None = None) -> Iterator[Document]:
        """Live documents, without their structure blocks: all of them, or those of `ids` that exist, by id."""
        ...

    def find(self, name: str) -> LiveDocument | None:
        """A live document without its text; None where there is none."""
        ...

    def versions(self) -> dict[str, str]:
        """Version of every live document by its id, in the order of the ids."""
        ...

    def document_ids(self, source: str | None = None) -> list[str]:
        """Ids of the live documents, of all sources or of one, in the order they were added."""
        ...

    def documents_by_source(self) -> dict[str, list[str]]:
        """Ids of the live documents by source, in the order they were added."""
        ...

    def sources(self, *, name: str | None = None, root: str | None = None, under: str | None = None) -> list[SourceRow]:
        """Sources, by name; only those of a name, of a root, or at and below a path, where one is given."""
        ...

    def source(self, uri: str) -> SourceRow | None:
        """The source of a URI; None where there is none."""
        ...

    def source_of(self, name: str) -> str | None:
        """The source of a document, live or of an older generation; None where there never was one."""
        ...

    def every_version(self, ids: Sequence[str] | None = None) -> Iterator[tuple[Document, str]]:
        """Every kept version of every document, or of those of `ids`, of any generation, with its source."""
        ...

    def log(self) -> list[Generation]:
        """Every generation, oldest first; a reader sees no notes, and counts what the reader may read."""
        ...

    def diff(self, a: int | str, b: int | str) -> Diff:
        """Documents that differ between two generations (numbers or dates)."""
        ...

    def close(self) -> None:
        """Free what belongs to this snapshot alone."""
        ...

    def status(self) -> Status:
        """Counts of documents, chunks, files and characters."""
        ...

    def files(self) -> Iterator[FileStatus]:
        """What became of every source, by name."""
        ...


class Store(Protocol):
    """Where a knowledge base lives and how it changes."""

    capabilities: frozenset[Capability]

    @property
    def location(self) -> str:
        """Where it is, as the user wrote it."""
        ...

    @property
    def notes(self) -> Notes:
        """What the user should know of what writes and upkeep found."""
        ...

    def close(self) -> None:
        """Close files and connections. Snapshots of the store can be read no more."""
        ...

    def meta(self) -> Mapping[str, str]:
        """The settings that the knowledge base was made with; see :func:`llmkit.knowledge.settings.settings`."""
        ...

    def head(self) -> int:
        """The last committed generation; 0 for an empty knowledge base."""
        ...

    def resolve(self, as_of: int | str) -> int:
        """The generation of a number, or the last one at a date or time.

        Raises:
            KnowledgeError: there is none, or it was compacted away.
        """
        ...

    def snapshot(
        self, generation: int | None = None, reader: Sequence[str] | None = None, notes: Notes | None = None
    ) -> Snapshot:
        """A generation, the last one where none is named, as its owner or as a holder of these labels sees it."""
        ...

    def writing(self, purpose: str) -> AbstractContextManager[None]:
        """Keep other writers out for the block, where the store needs to; several commits may be made in it.

        Raises:
            Busy: another writer is at work.
        """
        ...

    def commit(self, note: str, change: Change) -> int:
        """Apply a change as the next generation: all of it or nothing. Returns the generation.

        This is the one place where documents change.
        """
        ...

    def known_vectors(self, keys: Sequence[bytes]) -> dict[tuple[bytes, str], int]:
        """Rows that hold the vector of a key, by (key, labels as JSON) and by (key, id of the document)."""
        ...

    def signatures(self) -> Iterator[tuple[str, bytes]]:
        """Id and MinHash of every live document that has one."""
        ...

    def lost_duplicates(self, leaving: Iterable[str]) -> list[tuple[str, Document]]:
        """Near duplicates, with source and structure, whose original is gone, or is among the ids that leave now."""
        ...

    def root_labels(self) -> dict[str, tuple[str, ...]]:
        """Access labels by the root they were set for."""
        ...

    def set_root_labels(self, labels: Mapping[str, tuple[str, ...]]) -> None:
        """Write down access labels of roots; outside of any generation."""
        ...

    def id_ending(self, end: str) -> str | None:
        """The id of some document of any generation that ends so."""
        ...

    def rollback(self, to: int | str) -> Diff:
        """Commit a generation that holds what an older one held."""
        ...

    def compact(self, keep: int = 1) -> Erased:
        """Drop what only generations older than the last `keep` can show."""
        ...

    def erase(self, ids: Sequence[str], before: Callable[[Sequence[str]], None] = lambda _: None) -> Erased:
        """Take documents out of every generation; `before` is called with every id once this is sure to succeed."""
        ...

    def reencode(self, encoder: Encoder, on_progress: Callable[[int, int], None] | None = None) -> Reencoded:
        """Encode every live passage with another encoder, as one new generation."""
        ...

    def build_index(
        self, settings: VectorSettings | None = None, tell: Callable[[str], None] = lambda text: None
    ) -> tuple[Certificate, list[Certificate]]:
        """Build the approximate vector index now; returns what was chosen and all that was tried."""
        ...

    def verify(self) -> list[Finding]:
        """Compare everything derived with the catalogue, and change nothing."""
        ...

    def repair(self) -> list[Finding]:
        """Make anew what is damaged and derived; returns what was found."""
        ...

    def stats(self) -> Mapping[str, Any]:
        """Sizes in bytes by part, and whatever else the store counts."""
        ...
