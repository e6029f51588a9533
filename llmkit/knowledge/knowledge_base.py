"""The knowledge base: a folder with documents in, evidence out.

::

    catalog.sqlite     the truth: sources, documents, chunks, generations
    vectors/*.npy      derived, named by the catalogue
    index/*.faiss      derived from the vectors, once there are many
    lexical/           derived, caught up from the catalogue

A knowledge base that is open shows one generation, whole, until `refresh`; another process may write meanwhile.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge import embedding_spaces, generations
from llmkit.knowledge.analyzers import AUTO
from llmkit.knowledge.local import create as founding
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.filter_cache import Permitted
from llmkit.knowledge.local.lexical.catch_up import open_level, open_past, renewed
from llmkit.knowledge.local.lexical.index import Found, LexicalIndex
from llmkit.knowledge.local.lock import writer_lock
from llmkit.knowledge.local.reads import GenerationReads
from llmkit.knowledge.local.vectors.load import Vectors, open_vectors
from llmkit.knowledge.settings import language as words_in
from llmkit.knowledge.settings import near_duplicates, settings
from llmkit.knowledge.store import SourceRow
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.knowledge.vector_settings import VectorSettings, written
from llmkit.protocols import Encoder
from llmkit.registry import one_of
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Chunk, Document

if TYPE_CHECKING:
    from llmkit.knowledge.filters.expression import Filter
    from llmkit.knowledge.ingestion.progress import IngestSummary, Progress
    from llmkit.text.loading.load import Limits


class KnowledgeBase:
    """Open one with :meth:`open`, make one with :meth:`create`; close it, or use it in a ``with`` block."""

    reader: tuple[str, ...] | None = None
    """Labels of the reader to whom this is shown; None: the owner, who sees all."""
    exact = False
    """Whether vectors are searched exactly however many there are."""

    def __init__(self, path: Path, catalog: Catalog, encoder: Encoder | None = None, as_of: int | None = None) -> None:
        self.path = path
        self.catalog = catalog
        self.as_of = as_of
        """The older generation that is shown, for reading only; None: the last one."""
        self.generation = catalog.generation() if as_of is None else as_of
        self.notes: list[str] = []
        """What the user should know: an encoder of another precision, a lexical index that was rebuilt."""
        self._told = 0
        self.given_encoder = encoder
        """Instead of the encoder that is written down."""
        self._meta = catalog.meta()
        self._lock = threading.RLock()
        self._permitted = Permitted(catalog)
        self._space: tuple[int, embedding_spaces.Space] | None = None

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: Encoder,
        splitter: StructureSplitter | None = None,
        language: str = AUTO,
        near_duplicates: float | None = None,
        vectors: VectorSettings | None = None,
    ) -> Self:
        """Make an empty knowledge base and open it. What is given here is its own from now on.

        Raises:
            KnowledgeError: something is there already, or the folder cannot be made.
            ConfigError: a setting that cannot be; see :func:`llmkit.knowledge.settings.settings`.
        """
        path = Path(path).expanduser()
        return cls(path, founding.made(path, settings(encoder, splitter, language, near_duplicates, vectors)), encoder)

    @classmethod
    def open(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | None = None,
        as_of: int | str | None = None,
        reader: str | Iterable[str] | None = None,
    ) -> KnowledgeBase:
        """Open a knowledge base at its last generation, or at an older one, for reading only.

        Args:
            path: its folder.
            encoder: instead of the one that was written down; must be the same model.
            as_of: a generation, or a date or time (ISO, UTC): what was there at its end.
            reader: show only what a holder of these labels may read; see :meth:`as_reader`. None: everything.

        Raises:
            KnowledgeError: it is not there, or not one.
            DataError: what is no label.
        """
        catalog = founding.opened(Path(path).expanduser())
        opened = cls(
            catalog.path.parent, catalog, encoder, None if as_of is None else generations.resolve(catalog, as_of)
        )
        return opened if reader is None else opened.as_reader(reader, owned=True)

    def as_reader(self, reader: str | Iterable[str], *, owned: bool = False) -> KnowledgeBase:
        """What a holder of these labels may read, and nothing else; `owned`: close this with the view."""
        from llmkit.knowledge.local.reader_view import ReaderView

        return ReaderView(self, reader, owned=owned)

    def close(self) -> None:
        """Close the files."""
        self.catalog.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    @property
    def space(self) -> embedding_spaces.Space:
        """The encoder of the generation that is shown; an adoption changes it from its generation on."""
        if self._space is None or self._space[0] != self.generation:
            self._space = self.generation, embedding_spaces.at(self.catalog, self.generation)
        return self._space[1]

    @property
    def identity(self) -> str:
        """Identity of the encoder the vectors were made with."""
        return self.space.identity

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self.space.dim

    @cached_property
    def encoder(self) -> Encoder:
        """The encoder the knowledge base was made with, checked when first used.

        Raises:
            KnowledgeError: it is not the same model any more.
        """
        encoder, note = embedding_spaces.encoder_of(self.space, self.given_encoder, self.path)
        self.notes += [note] if note else []
        return encoder

    @cached_property
    def splitter(self) -> StructureSplitter:
        """The splitter the knowledge base was made with."""
        return one_of("splitter").parse(json.loads(self._meta["splitter"]))  # type: ignore[return-value]

    @property
    def language(self) -> str:
        """ISO 639-1 code of the language words are stemmed in."""
        return words_in(self.catalog.meta())

    @property
    def count(self) -> int:
        """Live chunks."""
        return len(self.index)

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether a folder holds a knowledge base."""
        return (Path(path).expanduser() / "catalog.sqlite").is_file()

    @property
    def is_current(self) -> bool:
        """Whether the generation that is shown is the last one that was committed."""
        return self.catalog.generation() == self.generation

    @property
    def vector_settings(self) -> VectorSettings:
        """How vectors are searched."""
        return written(self.catalog)

    @property
    def near_duplicates(self) -> float | None:
        """Jaccard similarity from which on a document is a near duplicate; None where every document is indexed."""
        return near_duplicates(self.catalog.meta())

    def load(self) -> None:
        """Load the encoder, the vectors and the BM25 index now instead of at the first search."""
        _ = self.encoder, self.index, self.lexical

    def add_note(self, text: str) -> None:
        """Add a note for the user."""
        self.notes.append(text)

    def take_notes(self) -> list[str]:
        """The notes since the last call."""
        with self._lock:
            before, self._told = self._told, len(self.notes)
        return self.notes[before : self._told]

    def refresh(self) -> None:
        """Show the last generation, if another process has written."""
        with self._lock:
            before = self.generation
            self.refresh_generation()
            if self.generation != before:
                self.reread()

    def reread(self) -> None:
        """Drop vectors and terms from memory; they are read again, level with the catalogue, when next asked for."""
        self.__dict__.pop("index", None)
        self.__dict__.pop("lexical", None)

    def ingest(
        self,
        roots: Sequence[str | Path],
        *,
        limits: Limits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        workers: int = 2,
        reparse: bool = False,
        access: str | Iterable[str] | None = None,
    ) -> IngestSummary:
        """Bring files and folders in; see :func:`llmkit.knowledge.ingestion.ingest.ingest`."""
        from llmkit.knowledge.ingestion.ingest import ingest

        self.check_writable()
        how: dict[str, Any] = {"limits": limits, "on_progress": on_progress, "workers": workers, "reparse": reparse}
        return ingest(self, [Path(r).expanduser() for r in roots], access=access, **how)

    def add(self, documents: Iterable[Document], *, source: str = "api") -> IngestSummary:
        """Add or replace documents by id; what has not changed is left alone."""
        from llmkit.knowledge.ingestion.ingest import add

        self.check_writable()
        return add(self, documents, source=source)

    def delete(self, ids: Sequence[str]) -> int:
        """Take documents out; returns how many were there. Those of a file come back when it is ingested again."""
        from llmkit.knowledge.ingestion.writer import Writer

        self.check_writable()
        note = f"delete {len(ids)} documents"
        with writer_lock(self.path, note), Writer(self, note) as writer:
            return sum(writer.remove_document(name) for name in ids)

    def delete_source(self, uri: str) -> int:
        """Delete a file's documents and its entry; returns how many documents it had. The file itself stays."""
        from llmkit.knowledge.ingestion.writer import Writer

        self.check_writable()
        note = "delete a file"
        with writer_lock(self.path, note), Writer(self, note) as writer:
            return writer.remove_source(uri)

    def check_writable(self) -> None:
        """Refuse to write to the past.

        Raises:
            KnowledgeError: an older generation is open.
        """
        if self.as_of is not None:
            raise KnowledgeError(f"{self.path} is open as of generation {self.as_of}: the past is for reading only")

    def check_owner(self) -> None:
        """Refuse what only the owner may see; the owner may."""

    def search_vectors(self, queries: NDArray[np.float32], k: int, where: Filter | None = None) -> list[Found]:
        """Rows and inner products of the k nearest chunks for each query (n, dim), of those that pass `where`.

        Raises:
            KnowledgeError: queries that are not unit vectors of this knowledge base's length.
        """
        unit_vectors(queries, len(queries), self.dim, "the encoder of the queries")
        scores, ids = self.index.search(queries, k, self.allowed(where), exact=self.exact)
        return [(row[row >= 0], score[row >= 0]) for row, score in zip(ids, scores, strict=True)]

    def search_text(self, queries: Sequence[str], k: int, where: Filter | None = None) -> list[Found]:
        """Rows and BM25 scores of the k best chunks for each query, of those that pass `where`."""
        try:
            return self.lexical.search(queries, k, self.allowed(where))
        except KnowledgeError:
            self.__dict__["lexical"] = renewed(self)
            return self.lexical.search(queries, k, self.allowed(where))

    def chunks(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Chunk]:
        """Chunks by row, in the order given."""
        return self.catalog.chunks([int(row) for row in rows])

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by row, (n, dim), in the order given."""
        return self.index.vectors(np.asarray(rows, dtype=np.int64))

    def allowed(self, where: Filter | None) -> NDArray[np.int64] | None:
        """Live rows that pass the filter, ascending; None where there is no filter."""
        return None if where is None else self._permitted.rows(self.generation, where)

    def document(self, name: str, version: str | None = None) -> Document:
        """A document by id: its live version, or the version named.

        Raises:
            KnowledgeError: it is not there.
        """
        found = self.catalog.document(name, version, self.generation)
        if found is None:
            raise KnowledgeError(f"{self.path} has no document {name!r}{f' of version {version}' if version else ''}")
        return found

    @property
    def _reads(self) -> GenerationReads:
        return GenerationReads(self.catalog, self.generation)

    def live_rows(self) -> NDArray[np.int64]:
        """Rows of the live chunks, ascending, shape (n,)."""
        return self._reads.live_rows()

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Rows of the chunks of these documents, in the order of the ids and of the text; unknown ids have none."""
        return self._reads.rows_of(ids)

    def documents(self, ids: Sequence[str] | None = None) -> Iterator[Document]:
        """Live documents, without their structure blocks: all of them, or those of `ids` that exist, by id."""
        return self._reads.documents(ids)

    def versions(self) -> dict[str, str]:
        """Version of every live document by its id, in the order of the ids."""
        return self._reads.versions()

    def document_ids(self, source: str | None = None) -> list[str]:
        """Ids of the live documents, of all sources or of one, in the order they were added."""
        return self._reads.document_ids(source)

    def documents_by_source(self) -> dict[str, list[str]]:
        """Ids of the live documents by source, in the order they were added."""
        return self._reads.documents_by_source()

    def sources(self, *, name: str | None = None, root: str | None = None) -> list[SourceRow]:
        """Files that were read, by name; only those of a name or of a root where one is given."""
        return self._reads.sources(name=name, root=root)

    def source_of(self, name: str) -> str | None:
        """The source of a document, live or of an older generation; None where there never was one."""
        return self._reads.source_of(name)

    def every_version(self) -> Iterator[tuple[Document, str]]:
        """Every version of every document that some generation still shows, with its source."""
        return self._reads.every_version()

    @cached_property
    def index(self) -> Vectors:
        """Vectors of the generation that is open."""
        return open_vectors(self)

    @cached_property
    def lexical(self) -> LexicalIndex:
        """Terms of the generation that is open, caught up if a writer was killed before it could."""
        return open_level(self) if self.as_of is None else open_past(self)

    def refresh_generation(self) -> None:
        """Move on to the last generation, so that text and vectors stay in step."""
        if self.as_of is None and self.catalog.generation() != self.generation:
            before = self.space
            self.generation = self.catalog.generation()
            self.__dict__.pop("index", None)
            if self.space != before:  # another process adopted an encoder
                self.given_encoder = None
                self.__dict__.pop("encoder", None)
