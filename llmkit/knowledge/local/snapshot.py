"""One generation of a local knowledge base, for its owner."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.embedding_spaces import EmbeddingSpace, Encoders
from llmkit.knowledge.filters.where import as_filter
from llmkit.knowledge.local import status
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.filter_cache import FilterCache
from llmkit.knowledge.local.lexical.catch_up import open_searcher, renewed
from llmkit.knowledge.local.lexical.index import LexicalSearcher
from llmkit.knowledge.local.reads import GenerationReads
from llmkit.knowledge.local.vectors.load import open_vectors
from llmkit.knowledge.local.vectors.vector_set import VectorSet
from llmkit.knowledge.notes import Notes
from llmkit.knowledge.status import FileStatus, Status
from llmkit.knowledge.store import SnapshotExpired
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.protocols import Encoder, Ranking, Where
from llmkit.types import Chunk


class LocalSnapshot(GenerationReads):
    """See :class:`llmkit.knowledge.store.Snapshot`. Vectors and BM25 index are loaded when first used, or handed in."""

    reader: tuple[str, ...] | None = None
    """Access labels of the reader; None: the owner, who sees everything."""

    def __init__(
        self,
        catalog: Catalog,
        generation: int,
        space: EmbeddingSpace,
        encoders: Encoders,
        language: str,
        notes: Notes,
        *,
        index: VectorSet | None = None,
        lexical: LexicalSearcher | None = None,
    ) -> None:
        """Show `generation` of `catalog`, whose vectors are of `space`; `index` and `lexical` are of that, too."""
        super().__init__(catalog, generation, language, notes)
        self.space = space
        self._encoders = encoders
        self._lock = threading.RLock()
        self._index = index
        self._lexical = lexical
        self._filters = FilterCache(catalog, generation)

    def snapshot(self) -> LocalSnapshot:
        """Itself."""
        return self

    @property
    def encoder(self) -> Encoder:
        """The encoder of the vectors, loaded when first used.

        Raises:
            KnowledgeError: it is not the model that the vectors were made with.
        """
        return self._encoders.of(self.space, self.notes)

    @property
    def index(self) -> VectorSet:
        """The vectors of the generation."""
        if self._index is None:
            with self._lock:
                if self._index is None:
                    if int(self.catalog.meta().get("oldest", 0)) > self.generation:
                        raise self._expired()
                    self._index = open_vectors(self, self.space)
        return self._index

    @property
    def lexical(self) -> LexicalSearcher:
        """The BM25 index of the generation."""
        if self._lexical is None:
            with self._lock:
                if self._lexical is None:
                    self._lexical = open_searcher(self)
        return self._lexical

    @property
    def loaded(self) -> VectorSet | None:
        """The vectors, where they were loaded already."""
        return self._index

    @cached_property
    def count(self) -> int:
        """Live chunks."""
        return len(self.index)

    def load(self) -> None:
        """Load the encoder, the vectors and the BM25 index now instead of at the first search."""
        _ = self.encoder, self.index, self.lexical

    def search_dense(
        self, queries: NDArray[np.float32], k: int, where: Where = None, *, exact: bool = False
    ) -> list[Ranking]:
        """Rows and inner products of the k nearest chunks for each query (n, dim), of those that pass `where`.

        Raises:
            KnowledgeError: queries that are not unit vectors of this knowledge base's length.
        """
        unit_vectors(queries, len(queries), self.space.dim, "the encoder of the queries")
        scores, ids = self.index.search(queries, k, self._allowed(where), exact=exact)
        return [(row[row >= 0], score[row >= 0]) for row, score in zip(ids, scores, strict=True)]

    def search_bm25(self, queries: Sequence[str], k: int, where: Where = None) -> list[Ranking]:
        """Rows and BM25 scores of the k best chunks for each query, of those that pass `where`.

        An index that turns out to be damaged is built anew from the catalogue.
        """
        searcher, allowed = self.lexical, self._passing(where)
        try:
            return searcher.search(queries, k, allowed)
        except KnowledgeError:
            with self._lock:
                if self._lexical is searcher:
                    self._lexical = self._rebuilt()
            return self.lexical.search(queries, k, allowed)

    def chunks(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Chunk]:
        """Chunks by row, in the order given.

        Raises:
            SnapshotExpired: a chunk was compacted away or forgotten since.
            KnowledgeError: a row that never was.
        """
        try:
            return self.catalog.chunks([int(row) for row in rows])
        except KnowledgeError as error:
            if self._purged():
                raise self._expired() from error
            raise

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by row, (n, dim), in the order given."""
        return self.index.vectors(np.asarray(rows, dtype=np.int64))

    def live_rows(self, where: Where = None) -> NDArray[np.int64]:
        """Rows of the live chunks, of those that pass `where`, ascending, shape (n,)."""
        passing = self._passing(where)
        return super().live_rows() if passing is None else passing

    def status(self) -> Status:
        """Counts of documents, chunks, files and characters; looks at the encoder and the BM25 index, too."""
        return status.status(self, self.index, self.space, self._problems(), owner=self.reader is None)

    def files(self) -> Iterator[FileStatus]:
        """What became of every source, by name."""
        return status.files(self, self.index)

    def close(self) -> None:
        """Nothing: the connection is the store's."""

    def _allowed(self, where: Where) -> NDArray[np.int64] | None:
        """Rows that dense search may find; None where it may find all that live."""
        return self._passing(where)

    def _passing(self, where: Where) -> NDArray[np.int64] | None:
        """Live rows that pass a filter; None where there is no filter."""
        where = as_filter(where)
        return None if where is None else self._filters.rows(where)

    def _rebuilt(self) -> LexicalSearcher:
        return renewed(self)

    def _expired(self) -> SnapshotExpired:
        return SnapshotExpired(
            f"generation {self.generation} of {self.path} was compacted, or documents in it were forgotten, since it "
            "was opened: call refresh() and search again"
        )

    def _purged(self) -> bool:
        return int(self.catalog.meta().get("purged", 0)) > self.generation

    def _problems(self) -> list[str]:
        """What keeps it from being searched."""
        problems = []
        for part in ("encoder", "lexical"):
            try:
                getattr(self, part)
            except KnowledgeError as error:
                problems.append(str(error))
        return problems
