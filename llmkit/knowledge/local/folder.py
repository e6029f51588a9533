"""The folder of a local knowledge base: its snapshots, its one writer, the order in which a commit reaches the disk.

::

    catalog.sqlite     the truth: sources, documents, chunks, generations
    vectors/*.npy      derived, named by the catalogue
    index/*.faiss      derived from the vectors, once there are many
    lexical/           derived, brought up to date from the catalogue

Vectors are on disk first, then SQLite commits, then the BM25 index follows. A writer that is killed in between leaves
the last commit whole: vector files that no commit names are dropped by the next writer, and the BM25 index is brought
up to date by whoever opens it next.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.embedding_spaces import EmbeddingSpace, Encoders
from llmkit.knowledge.local import generations, spaces
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.lexical import catch_up
from llmkit.knowledge.local.lexical.index import LexicalIndex, LexicalSearcher, reached
from llmkit.knowledge.local.lock import writer_lock
from llmkit.knowledge.local.reader_snapshot import ReaderSnapshot
from llmkit.knowledge.local.snapshot import LocalSnapshot
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.local.vectors.vector_set import VectorSet
from llmkit.knowledge.notes import Notes
from llmkit.knowledge.settings import language
from llmkit.protocols import Encoder

_LIVE_WRITER = 0.2  # seconds for which a writer is waited for between its commit and its BM25 index


class Folder:
    """Gives out snapshots, and moves on from one to the next when something is committed."""

    def __init__(self, catalog: Catalog, encoder: Encoder | None = None) -> None:
        """Take charge of the folder of `catalog`; `encoder` is used instead of the one that was written down."""
        self.catalog = catalog
        self.path = catalog.path.parent
        self.notes = Notes()
        self.encoders = Encoders(str(self.path), encoder)
        self._lock = threading.RLock()
        self._newest: LocalSnapshot | None = None
        self._write_catalog: Catalog | None = None
        self._lexical: LexicalIndex | None = None
        self._writer: int | None = None
        """The thread that holds the writer lock."""

    @property
    def location(self) -> str:
        """The folder."""
        return str(self.path)

    def close(self) -> None:
        """Close the connections."""
        with self._lock:
            self.catalog.close()
            if self._write_catalog is not None:
                self._write_catalog.close()

    def meta(self) -> dict[str, str]:
        """What was written down when the knowledge base was made, and since."""
        return self.catalog.meta()

    def head(self) -> int:
        """The last committed generation; 0 for an empty knowledge base."""
        return self.catalog.generation()

    def resolve(self, as_of: int | str) -> int:
        """The generation of a number, or the last one at a date or time.

        Raises:
            KnowledgeError: there is none, or it was compacted away.
        """
        return generations.resolve(self.catalog, as_of)

    def snapshot(
        self, generation: int | None = None, reader: Sequence[str] | None = None, notes: Notes | None = None
    ) -> LocalSnapshot:
        """A generation, the last one where none is named, as its owner or as a holder of these labels sees it."""
        with self._lock:
            last = self.head()
            if generation is None or generation == last:
                if self._newest is None or self._newest.generation != last:
                    self._newest = self._open_newest()
                owner = self._newest
            else:
                owner = self._past(generation)
        if reader is None:
            return owner
        return ReaderSnapshot(owner, self.encoders, reader, Notes() if notes is None else notes)

    @property
    def write_catalog(self) -> Catalog:
        """The connection that writes. Readers have another one, so that no search waits for a commit."""
        if self._write_catalog is None:
            self._write_catalog = Catalog(self.catalog.path)
        return self._write_catalog

    @property
    def newest(self) -> LocalSnapshot:
        """The snapshot of the last commit; while the writer lock is held, nobody else commits."""
        return self.snapshot()

    @contextmanager
    def exclusive(self, purpose: str) -> Iterator[None]:
        """Hold the writer lock, bring the BM25 index up to date, and drop files that no commit names.

        Raises:
            Busy: another writer is at work.
        """
        if self._writer == threading.get_ident():
            yield
            return
        with writer_lock(self.path, purpose):
            self._writer = threading.get_ident()
            try:
                segments.drop_unlisted(self.path / segments.FOLDER, self.catalog)
                index_file.drop_unlisted(self.path / index_file.FOLDER, self.catalog)
                newest = self.newest
                self._lexical = catch_up.level(newest)
                self._replace(newest, newest.index, self._lexical.searcher)
                yield
            finally:
                self._writer = self._lexical = None

    @property
    def lexical(self) -> LexicalIndex:
        """The BM25 index, to write to; only inside :meth:`exclusive`."""
        assert self._lexical is not None, "the writer lock is not held"
        return self._lexical

    def advance(
        self,
        generation: int,
        merged: Sequence[Segment],
        died: Sequence[int],
        ids: NDArray[np.int64],
        vectors: NDArray[np.float32],
        texts: Iterable[str],
    ) -> None:
        """Bring the BM25 index and the newest snapshot to a generation that was just committed.

        Args:
            generation: the one that was committed.
            merged: vector files that the commit names no more.
            died: rows that it left out.
            ids: rows that it added, ascending.
            vectors: of these, (n, dim).
            texts: indexed text of these.
        """
        before, self._newest = self._newest, None
        segments.unlink(self.path / segments.FOLDER, merged)
        assert before is not None
        index = before.index.without(np.asarray(died, dtype=np.int64)).appended(ids, vectors)
        after = self._snapshot(generation, before.space, index, None)
        if after.language != self.lexical.language:  # the index holds nothing yet
            self._lexical = LexicalIndex(self.path / catch_up.FOLDER, after.language)
        try:
            self.lexical.update(generation, died, zip(ids.tolist(), texts, strict=True))
        except KnowledgeError:
            self._lexical = catch_up.caught_up(after, self.lexical)
        self._replace(after, index, self.lexical.searcher)

    def reopen(self, *, lexical: LexicalIndex | None = None) -> None:
        """Read the vectors again when they are next needed: a commit changed them otherwise than by adding rows."""
        with self._lock:
            self._newest = None
            if lexical is not None:
                self._lexical = lexical
            newest = self._snapshot(self.head(), spaces.at(self.catalog, self.head()), None, None)
            if self._lexical is not None and self._lexical.generation != newest.generation:
                self._lexical = catch_up.level(newest)
            searcher = self._lexical.searcher if self._lexical is not None else None
            self._newest = self._snapshot(newest.generation, newest.space, None, searcher)

    def _replace(self, of: LocalSnapshot, index: VectorSet, lexical: LexicalSearcher) -> None:
        self._newest = self._snapshot(of.generation, of.space, index, lexical)

    def _open_newest(self) -> LocalSnapshot:
        """The last generation, with the BM25 index where it is up to date.

        Between a commit and its BM25 index lies a moment, for which a live writer is waited for.
        """
        deadline = time.monotonic() + _LIVE_WRITER
        while True:
            generation = self.head()
            newest = self._snapshot(generation, spaces.at(self.catalog, generation), None, None)
            found = catch_up.open_if_level(newest)
            behind = reached(self.path / catch_up.FOLDER) != generation and (self.path / "writer.json").exists()
            if found is not None or not behind or time.monotonic() > deadline:
                return self._snapshot(generation, newest.space, None, found)
            time.sleep(0.005)

    def _past(self, generation: int) -> LocalSnapshot:
        return self._snapshot(generation, spaces.at(self.catalog, generation), None, None)

    def _snapshot(
        self, generation: int, space: EmbeddingSpace, index: VectorSet | None, lexical: LexicalSearcher | None
    ) -> LocalSnapshot:
        words_in = language(self.meta())
        self.encoders.expect(space)
        return LocalSnapshot(
            self.catalog, generation, space, self.encoders, words_in, self.notes, index=index, lexical=lexical
        )
