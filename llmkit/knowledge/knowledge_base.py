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
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self, overload

import numpy as np
from numpy.typing import NDArray

from llmkit.arguments import one_or_many
from llmkit.encoders.from_spec import encoder_from_spec
from llmkit.errors import KnowledgeError
from llmkit.knowledge import embedding_spaces, generations
from llmkit.knowledge.analyzers import AUTO
from llmkit.knowledge.documents import DocumentLike, as_documents
from llmkit.knowledge.filters.expression import Where, as_filter
from llmkit.knowledge.ingestion.progress_line import ProgressLine, both
from llmkit.knowledge.local import create as founding
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.filter_cache import Permitted
from llmkit.knowledge.local.lexical.catch_up import open_level, open_past, renewed
from llmkit.knowledge.local.lexical.index import Found, LexicalIndex
from llmkit.knowledge.local.lock import writer_lock
from llmkit.knowledge.local.reads import GenerationReads
from llmkit.knowledge.local.vectors.load import Vectors, open_vectors
from llmkit.knowledge.questions import answerer, ask, search
from llmkit.knowledge.settings import language as words_in
from llmkit.knowledge.settings import near_duplicates, settings
from llmkit.knowledge.settings_from_specs import check_same, splitter_from_spec, vectors_from_spec
from llmkit.knowledge.store import SourceRow
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.knowledge.vector_settings import VectorSettings, written
from llmkit.protocols import Encoder, QuestionAnswerer, Retriever
from llmkit.registry import one_of
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Answer, Chunk, Document, Hits

if TYPE_CHECKING:
    from llmkit.knowledge.filters.expression import Filter
    from llmkit.knowledge.ingestion.progress import IngestSummary, Progress
    from llmkit.knowledge.local.maintenance.purge import Purged
    from llmkit.knowledge.status import Status
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
        self._pipelines: dict[str, QuestionAnswerer] = {}

    @classmethod
    def create(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | str | Path | Mapping[str, Any] | None = None,
        splitter: StructureSplitter | str | Mapping[str, Any] | None = None,
        language: str = AUTO,
        near_duplicates: float | None = None,
        vectors: VectorSettings | str | Mapping[str, Any] | None = None,
    ) -> Self:
        """Make an empty knowledge base and open it. The settings given here are written down and stay.

        Args:
            path: its folder; must be empty, or not there.
            encoder: makes the vectors: ``"local"`` (the default), ``"hashing"``, a model's folder, ``"openai:MODEL"``,
                a mapping with ``type``, or an encoder.
            splitter: makes the chunks: a mapping as in ``{"max_tokens": 128}``, or a splitter.
            language: ISO 639-1 code of the language that words are stemmed in; ``"auto"``: detected from the first
                texts.
            near_duplicates: Jaccard similarity of word 5-grams, in (0, 1], from which on a document counts as a near
                duplicate of another and is kept but not indexed. None indexes every document.
            vectors: how vectors are searched once there are many: ``"flat"``, ``"ivf"``, ``"hnsw"``, or a mapping as
                in ``{"recall": 0.95}``.

        Raises:
            KnowledgeError: the folder is not empty, or cannot be made.
            ConfigError: a setting is wrong; says which, and what is known.
            ModelError: the encoder's weights are not here; says which command brings them.
        """
        path = Path(path).expanduser()
        chosen = encoder_from_spec(encoder, language)
        made_with = settings(
            chosen, splitter_from_spec(splitter), language, near_duplicates, vectors_from_spec(vectors)
        )
        return cls(path, founding.made(path, made_with), chosen)

    @classmethod
    def open_or_create(
        cls,
        path: str | Path,
        *,
        encoder: Encoder | str | Path | Mapping[str, Any] | None = None,
        splitter: StructureSplitter | str | Mapping[str, Any] | None = None,
        language: str = AUTO,
        near_duplicates: float | None = None,
        vectors: VectorSettings | str | Mapping[str, Any] | None = None,
    ) -> KnowledgeBase:
        """Open the knowledge base at `path`, or make it if there is none; the arguments are those of :meth:`create`.

        Raises:
            ConfigError: the knowledge base is there and was made with another setting than one given here.
            KnowledgeError: the folder holds something else.
        """
        path = Path(path).expanduser()
        how: dict[str, Any] = {"encoder": encoder, "splitter": splitter, "vectors": vectors}
        if not cls.exists(path):
            return cls.create(path, language=language, near_duplicates=near_duplicates, **how)
        kb = cls.open(path)
        try:
            check_same(path, kb.catalog.meta(), language=language, near_duplicates=near_duplicates, **how)
        except BaseException:
            kb.close()
            raise
        return kb

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

    def __len__(self) -> int:
        """Number of documents in the generation that is open."""
        return len(self.versions())

    def __bool__(self) -> bool:
        """True, also when empty: ``if kb:`` asks whether there is a knowledge base."""
        return True

    def __repr__(self) -> str:
        """Path, size, generation and encoder."""
        shown = f", reader {list(self.reader)}" if self.reader is not None else ""
        return (
            f"KnowledgeBase({str(self.path)!r}: {len(self)} documents, generation {self.generation}, "
            f"encoder {self.identity}{shown})"
        )

    @overload
    def search(  # type: ignore[overload-overlap]  # a string is a sequence of strings; the first line wins
        self, query: str, k: int = 10, *, where: Where = None, mode: str | Mapping[str, Any] | Retriever = "hybrid"
    ) -> Hits: ...
    @overload
    def search(
        self,
        query: Sequence[str],
        k: int = 10,
        *,
        where: Where = None,
        mode: str | Mapping[str, Any] | Retriever = "hybrid",
    ) -> list[Hits]: ...
    def search(
        self,
        query: str | Sequence[str],
        k: int = 10,
        *,
        where: Where = None,
        mode: str | Mapping[str, Any] | Retriever = "hybrid",
    ) -> Hits | list[Hits]:
        """Find the k best passages for a question, or for each of several.

        Args:
            query: one question gives the list of its hits; a list of questions gives a list of such lists.
            k: how many hits at most.
            where: only passages whose metadata pass: ``"year >= 2024"``, a mapping, or a filter.
            mode: ``"hybrid"``, ``"dense"``, ``"bm25"``, ``"mmr"``, a mapping with ``type``, or a retriever.

        Raises:
            DataError: an empty question, or k below 1.
            ConfigError: an unknown mode, or a filter that cannot be read.
        """
        return search(self, query, k, as_filter(where), mode)

    def ask(
        self,
        question: str,
        *,
        pipeline: str | Path | QuestionAnswerer = "docs-qa",
        overrides: Sequence[str] = (),
        where: str | None = None,
        **options: Any,
    ) -> Answer:
        """Answer a question from the documents, with citations.

        Args:
            question: one question.
            pipeline: a name in ``pipelines/``, a YAML file, or a pipeline. ``docs-qa`` quotes the sentence that
                answers, or abstains; no model writes.
            overrides: ``path=value`` each, as in ``steps.retrieve.k=20``.
            where: only passages whose metadata pass this filter are used.
            options: ``history``, ``inputs``, ``on_event`` and ``caller`` of
                :meth:`llmkit.pipeline.pipeline.Pipeline.run`.

        Raises:
            ConfigError: the pipeline is not there, is wrong, or gives no answer.
            StepError: a step failed; the cause is chained.
        """
        chosen = answerer(self._pipelines, pipeline, overrides).with_knowledge(self)
        return ask(chosen if where is None else chosen.with_filter(where), question, options)

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
        roots: str | Path | Iterable[str | Path],
        *,
        limits: Limits | None = None,
        on_progress: Callable[[Progress], None] | None = None,
        progress: bool | None = None,
        workers: int = 2,
        reparse: bool = False,
        access: str | Iterable[str] | None = None,
    ) -> IngestSummary:
        """Read files and folders in; see :func:`llmkit.knowledge.ingestion.ingest.ingest`.

        Args:
            roots: a file or folder, or several; ``~`` is expanded.
            limits: of size, time and memory for one file.
            on_progress: called after every file.
            progress: show a progress line on stderr; None: in a terminal or a notebook only.
            workers: processes that parse.
            reparse: read unchanged files again too.
            access: labels of those who may read these files; ``""`` lets everybody; None: as in the last ingest.

        Raises:
            DataError: a root does not exist.
            KnowledgeError: another process is writing.
        """
        from llmkit.knowledge.ingestion.ingest import ingest

        self.check_writable()
        paths = [Path(root).expanduser() for root in one_or_many(roots, "roots")]
        how: dict[str, Any] = {"limits": limits, "workers": workers, "reparse": reparse, "access": access}
        with ProgressLine(show=progress) as line:
            return ingest(self, paths, on_progress=both(on_progress, line.update if line.shown else None), **how)

    def add(self, documents: DocumentLike | Iterable[DocumentLike], *, source: str = "api") -> IngestSummary:
        """Add or replace documents by id; what has not changed is left alone.

        Args:
            documents: one document or many; a mapping with ``id`` and ``text`` (and ``title``, ``metadata``,
                ``access``) is a document, too.
            source: the name under which they are listed and counted.

        Raises:
            DataError: something is not a document; says what to write instead.
            KnowledgeError: another process is writing.
        """
        from llmkit.knowledge.ingestion.ingest import add

        self.check_writable()
        return add(self, as_documents(documents), source=source)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Take documents out, one id or many; returns how many were there.

        Older generations still hold them (:meth:`forget` removes them from those, too). A document of a file comes back
        when the file is ingested again.
        """
        from llmkit.knowledge.ingestion.writer import Writer

        self.check_writable()
        ids = one_or_many(ids, "ids")
        note = f"delete {len(ids)} documents"
        with writer_lock(self.path, note), Writer(self, note) as writer:
            return sum(writer.remove_document(name) for name in ids)

    def log(self) -> list[generations.Generation]:
        """Every generation, oldest first."""
        return generations.log(self)

    def diff(self, a: int | str, b: int | str) -> generations.Diff:
        """Ids of the documents that were added, removed and changed from generation `a` to `b` (numbers or dates)."""
        return generations.diff(self, a, b)

    def status(self) -> Status:
        """Counts of documents, chunks, files and characters, and what the user should know."""
        from llmkit.knowledge.status import status

        return status(self)

    def rollback(self, to: int | str) -> generations.Diff:
        """Commit a new generation that equals the generation `to`; nothing is encoded."""
        from llmkit.knowledge.local.maintenance.rollback import rollback

        return rollback(self, to)

    def forget(self, ids: str | Iterable[str]) -> Purged:
        """Remove documents, one id or many, from every generation; no byte search of the folder finds them.

        Raises:
            KnowledgeError: a document that is in no generation.
        """
        from llmkit.knowledge.local.maintenance.purge import forget

        return forget(self, one_or_many(ids, "ids"))

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

    def allowed(self, where: Where) -> NDArray[np.int64] | None:
        """Live rows that pass the filter, ascending; None where there is no filter."""
        where = as_filter(where)
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
