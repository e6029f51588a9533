"""The knowledge base: documents in, passages and answers out."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Self, TypeVar, overload

import numpy as np
from numpy.typing import NDArray

from llmkit.arguments import many_texts, one_or_many, one_or_many_texts
from llmkit.encoders.load import load_encoder
from llmkit.errors import KnowledgeError
from llmkit.knowledge.access_labels import labels
from llmkit.knowledge.analyzers import AUTO
from llmkit.knowledge.documents import DocumentLike, as_documents
from llmkit.knowledge.embedding_spaces import EmbeddingSpace
from llmkit.knowledge.ingestion.ingest import add, ingest
from llmkit.knowledge.ingestion.progress import IngestSummary, Progress
from llmkit.knowledge.ingestion.progress_line import ProgressLine, both
from llmkit.knowledge.ingestion.writer import Writer
from llmkit.knowledge.local.store import LocalStore
from llmkit.knowledge.notes import Notes
from llmkit.knowledge.questions import answerer, ask, search
from llmkit.knowledge.recall_bound import Certificate
from llmkit.knowledge.settings import near_duplicates, settings
from llmkit.knowledge.settings_from_specs import check_same, splitter_from_spec, vectors_from_spec
from llmkit.knowledge.status import FileStatus, Status
from llmkit.knowledge.store import Diff, Erased, Finding, Generation, Reencoded, Snapshot, SourceRow, Store
from llmkit.knowledge.vector_settings import VectorSettings, written_settings
from llmkit.knowledge.verbatim_search import Quotes, quotes_of
from llmkit.protocols import Encoder, QuestionAnswerer, Ranking, Retriever, Where
from llmkit.registry import one_of
from llmkit.text.loading.load_files import Limits
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Answer, Chunk, Document, Hits

Changed = TypeVar("Changed")


class KnowledgeBase:
    """A store, an encoder, a splitter, and the snapshot that is shown.

    Open one with :meth:`open`, make one with :meth:`create`; close it, or use it in a ``with`` block. An open knowledge
    base shows a fixed snapshot: what other processes commit is shown after :meth:`refresh`, what is written through
    this object at once. It may be shared between threads; each search takes the current snapshot once and uses it to
    its end.
    """

    def __init__(
        self, store: Store, *, as_of: int | None = None, reader: Sequence[str] | None = None, owned: bool = True
    ) -> None:
        """Show a store.

        Args:
            store: where the knowledge base lives.
            as_of: an older generation, for reading only; None: the last one.
            reader: labels of the reader to whom it is shown; None: the owner, who sees everything.
            owned: close the store with this.
        """
        self._reader = None if reader is None else tuple(many_texts(reader, "reader"))
        self.store = store
        self.as_of = as_of
        self._owned = owned
        self._notes = store.notes if reader is None else Notes()
        self._snapshot = self._newest()
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
        chosen = load_encoder(encoder, language)
        made_with = settings(
            chosen, splitter_from_spec(splitter), language, near_duplicates, vectors_from_spec(vectors)
        )
        return cls(LocalStore.create(path, made_with, chosen))

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
    ) -> Self:
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
            check_same(path, kb.store.meta(), language=language, near_duplicates=near_duplicates, **how)
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
    ) -> Self:
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
        store = LocalStore.open(Path(path).expanduser(), encoder)
        generation = None if as_of is None else store.resolve(as_of)
        return cls(store, as_of=generation, reader=None if reader is None else labels(reader or None))

    @staticmethod
    def exists(path: str | Path) -> bool:
        """Whether a folder holds a knowledge base."""
        return LocalStore.exists(Path(path).expanduser())

    def as_reader(self, reader: str | Iterable[str], *, owned: bool = False) -> KnowledgeBase:
        """What a holder of these labels may read, and nothing else; of a reader's view: what both may read.

        Args:
            reader: access labels; none: what everybody may read.
            owned: close the store with the view.
        """
        wanted = labels(reader or None)
        if self.reader is not None:
            wanted = tuple(sorted(set(wanted) & set(self.reader)))
        return KnowledgeBase(self.store, as_of=self.as_of, reader=wanted, owned=owned)

    def close(self) -> None:
        """Close the files. Snapshots taken from here can be searched no more."""
        if self.reader is not None:
            self._snapshot.close()
        if self._owned:
            self.store.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def snapshot(self) -> Snapshot:
        """The snapshot that is shown: one generation, immutable, safe to share between threads."""
        return self._snapshot

    def refresh(self) -> None:
        """Show the last generation, if another process has written since."""
        if self.as_of is None and self.store.head() != self.generation:
            self._show(self._newest())

    @property
    def is_current(self) -> bool:
        """Whether the generation that is shown is the last one that was committed."""
        return self.store.head() == self.generation

    def take_notes(self) -> list[str]:
        """What the user should know and was not told yet: each note is returned once."""
        return self._notes.take()

    def add_note(self, text: str) -> None:
        """Add a note for the user."""
        self._notes.add(text)

    def load(self) -> None:
        """Load the encoder, the vectors and the BM25 index now instead of at the first search."""
        self._snapshot.load()

    @property
    def path(self) -> Path:
        """Where the knowledge base is."""
        return Path(self.store.location)

    @property
    def reader(self) -> tuple[str, ...] | None:
        """Labels of the reader to whom this is shown; None: the owner, who sees everything."""
        return self._reader

    @property
    def generation(self) -> int:
        """The generation that is shown."""
        return self._snapshot.generation

    @property
    def space(self) -> EmbeddingSpace:
        """The embedding space of the generation that is shown."""
        return self._snapshot.space

    @property
    def identity(self) -> str:
        """Identity of the encoder the vectors were made with."""
        return self._snapshot.space.identity

    @property
    def dim(self) -> int:
        """Length of a vector."""
        return self._snapshot.space.dim

    @property
    def encoder(self) -> Encoder:
        """The encoder of the generation that is shown, checked when first used.

        Raises:
            KnowledgeError: it is not the model that the vectors were made with.
        """
        return self._snapshot.encoder

    @cached_property
    def splitter(self) -> StructureSplitter:
        """The splitter the knowledge base was made with."""
        return one_of("splitter").parse(json.loads(self.store.meta()["splitter"]))  # type: ignore[return-value]

    @property
    def language(self) -> str:
        """ISO 639-1 code of the language words are stemmed in."""
        return self._snapshot.language

    @property
    def vector_settings(self) -> VectorSettings:
        """How vectors are searched."""
        return written_settings(self.store.meta())

    @property
    def near_duplicates(self) -> float | None:
        """Jaccard similarity from which on a document is a near duplicate; None where every document is indexed."""
        return near_duplicates(self.store.meta())

    @property
    def count(self) -> int:
        """Live chunks."""
        return self._snapshot.count

    def __len__(self) -> int:
        """Number of documents in the generation that is shown."""
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
        return search(self, query, k, where, mode)

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
        many_texts(overrides, "overrides")
        chosen = answerer(self._pipelines, pipeline, overrides).with_knowledge(self)
        return ask(chosen if where is None else chosen.with_filter(where), question, options)

    def search_dense(
        self, queries: NDArray[np.float32], k: int, where: Where = None, *, exact: bool = False
    ) -> list[Ranking]:
        """Rows and inner products of the k nearest chunks for each query (n, dim), of those that pass `where`.

        Raises:
            KnowledgeError: queries that are not unit vectors of this knowledge base's length.
        """
        return self._snapshot.search_dense(queries, k, where, exact=exact)

    def search_bm25(self, queries: Sequence[str], k: int, where: Where = None) -> list[Ranking]:
        """Rows and BM25 scores of the k best chunks for each query, of those that pass `where`."""
        many_texts(queries, "queries")
        return self._snapshot.search_bm25(queries, k, where)

    def search_vectors(self, queries: NDArray[np.float32], k: int, where: Where = None) -> list[Ranking]:
        """The name of :meth:`search_dense` in version 0.1; it goes in the next release."""
        warnings.warn("search_vectors is now search_dense", DeprecationWarning, stacklevel=2)
        return self.search_dense(queries, k, where)

    def search_text(self, queries: Sequence[str], k: int, where: Where = None) -> list[Ranking]:
        """The name of :meth:`search_bm25` in version 0.1; it goes in the next release."""
        queries = many_texts(queries, "queries")
        warnings.warn("search_text is now search_bm25", DeprecationWarning, stacklevel=2)
        return self.search_bm25(queries, k, where)

    def chunks(self, rows: Sequence[int] | NDArray[np.int64]) -> list[Chunk]:
        """Chunks by row, in the order given."""
        return self._snapshot.chunks(rows)

    def vectors(self, rows: Sequence[int] | NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by row, (n, dim), in the order given."""
        return self._snapshot.vectors(rows)

    def whole_document(self, row: int) -> tuple[str, tuple[Chunk, ...]]:
        """Text and all chunks, in order, of the version of a document that a chunk belongs to."""
        return self._snapshot.whole_document(row)

    def document(self, name: str, version: str | None = None) -> Document:
        """A document by id: its live version, or the version named.

        Raises:
            KnowledgeError: it is not there.
        """
        found = self._snapshot.document(name, version)
        if found is None:
            raise KnowledgeError(f"{self.path} has no document {name!r}{f' of version {version}' if version else ''}")
        return found

    def documents(self, ids: Sequence[str] | None = None) -> Iterator[Document]:
        """Live documents, without their structure blocks: all of them, or those of `ids` that exist, by id."""
        if ids is not None:
            many_texts(ids, "ids")
        return self._snapshot.documents(ids)

    def document_ids(self, source: str | None = None) -> list[str]:
        """Ids of the live documents, of all sources or of one, in the order they were added."""
        return self._snapshot.document_ids(source)

    def documents_by_source(self) -> dict[str, list[str]]:
        """Ids of the live documents by source, in the order they were added."""
        return self._snapshot.documents_by_source()

    def versions(self) -> dict[str, str]:
        """Version of every live document by its id, in the order of the ids."""
        return self._snapshot.versions()

    def live_rows(self, where: Where = None) -> NDArray[np.int64]:
        """Rows of the live chunks, of those that pass `where`, ascending, shape (n,)."""
        return self._snapshot.live_rows(where)

    def rows_of(self, ids: Sequence[str]) -> list[int]:
        """Rows of the chunks of these documents, in the order of the ids and of the text; unknown ids have none."""
        many_texts(ids, "ids")
        return self._snapshot.rows_of(ids)

    def sources(self, *, name: str | None = None, root: str | None = None) -> list[SourceRow]:
        """Files that were read, by name; only those of a name or of a root where one is given."""
        return self._snapshot.sources(name=name, root=root)

    def source_of(self, name: str) -> str | None:
        """The source of a document, live or of an older generation; None where there never was one."""
        return self._snapshot.source_of(name)

    def every_version(self) -> Iterator[tuple[Document, str]]:
        """Every kept version of every document, of any generation, with its source."""
        return self._snapshot.every_version()

    def quotes(self, ids: Sequence[str]) -> Quotes:
        """What only these documents say, in any generation: to find where they were quoted. For the owner only.

        Raises:
            KnowledgeError: a document that is in no generation, or this is a reader's view.
        """
        ids = many_texts(ids, "ids")
        self._check_owner()
        return quotes_of(self._snapshot, self.store.location, ids, self.store.id_ending)

    def status(self) -> Status:
        """Counts of documents, chunks, files and characters, and what the user should know."""
        return self._snapshot.status()

    def files(self) -> Iterator[FileStatus]:
        """What became of every source, by name."""
        return self._snapshot.files()

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
        paths = [Path(root).expanduser() for root in one_or_many(roots, "roots")]
        how: dict[str, Any] = {"limits": limits, "workers": workers, "reparse": reparse, "access": access}
        writer = self._writer(f"ingest {' '.join(path.name for path in paths)}")
        with ProgressLine(show=progress) as line:
            return ingest(writer, paths, on_progress=both(on_progress, line.update if line.shown else None), **how)

    def add(
        self,
        documents: DocumentLike | Iterable[DocumentLike],
        *,
        source: str = "api",
        vectors: Mapping[str, NDArray[np.float32]] | None = None,
    ) -> IngestSummary:
        """Add or replace documents by id; what has not changed is left alone.

        Args:
            documents: one document or many; a mapping with ``id`` and ``text`` (and ``title``, ``metadata``,
                ``access``) is a document, too.
            source: the name under which they are listed and counted.
            vectors: (dim,) of passages that need not be encoded, by their indexed text; unit length.

        Raises:
            DataError: something is not a document; says what to write instead.
            KnowledgeError: another process is writing.
        """
        return add(self._writer(f"add from {source}", vectors), as_documents(documents), source=source)

    def delete(self, ids: str | Iterable[str]) -> int:
        """Take documents out, one id or many; returns how many were there.

        Older generations still hold them (:meth:`forget` removes them from those, too). A document of a file comes back
        when the file is ingested again.
        """
        names = one_or_many_texts(ids, "ids")
        with self._writer(f"delete {len(names)} documents") as writer:
            return sum(writer.remove_document(name) for name in names)

    def delete_source(self, uri: str) -> int:
        """Delete a file's documents and its entry; returns how many documents it had. The file itself stays."""
        with self._writer("delete a file") as writer:
            return writer.remove_source(uri)

    def log(self) -> list[Generation]:
        """Every generation, oldest first."""
        return self._snapshot.log()

    def diff(self, a: int | str, b: int | str) -> Diff:
        """Ids of the documents that were added, removed and changed from generation `a` to `b` (numbers or dates)."""
        return self._snapshot.diff(a, b)

    def rollback(self, to: int | str) -> Diff:
        """Commit a new generation that equals the generation `to`; nothing is encoded.

        Returns:
            What came, went and changed; empty where nothing had to.
        """
        return self._change("rollback", lambda: self.store.rollback(to))

    def compact(self, keep: int = 1) -> Erased:
        """Drop what only generations older than the last `keep` can show, and give the space back."""
        return self._change("compact", lambda: self.store.compact(keep))

    def forget(
        self, ids: str | Iterable[str], *, before: Callable[[Sequence[str]], None] = lambda names: None
    ) -> Erased:
        """Remove documents, one id or many, from every generation; no byte search of the folder finds them.

        A file that is still in a folder comes back with the next ingest of that folder. Evaluations that were shown the
        documents lie elsewhere: :func:`llmkit.evaluation.runs.erase.forget_in_runs` erases those.

        Args:
            ids: of the documents.
            before: called with every id, older names of the same text included, once it is sure that they can be
                forgotten. Where it fails, nothing is forgotten.

        Raises:
            KnowledgeError: a document that is in no generation, or another process holds on to old pages.
        """
        return self._change("forget", lambda: self.store.erase(one_or_many_texts(ids, "ids"), before))

    def adopt(self, encoder: Encoder, on_progress: Callable[[int, int], None] | None = None) -> Reencoded:
        """Take another encoder into use: every passage is encoded anew, as one new generation."""
        return self._change("adopt", lambda: self.store.reencode(encoder, on_progress))

    def build_index(
        self, settings: VectorSettings | None = None, tell: Callable[[str], None] = lambda text: None
    ) -> tuple[Certificate, list[Certificate]]:
        """Make the vector index now; returns what was chosen and all that was tried."""
        return self._change("index", lambda: self.store.build_index(settings, tell))

    def verify(self) -> list[Finding]:
        """Compare everything derived with the catalogue, and change nothing."""
        self._check_owner()
        return self.store.verify()

    def repair(self) -> list[Finding]:
        """Make anew what is damaged and derived; returns what was found."""
        self._check_writable()
        try:
            return self.store.repair()
        finally:
            self._show(self._newest())

    def _newest(self) -> Snapshot:
        return self.store.snapshot(self.as_of, self.reader, self._notes)

    def _show(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def _change(self, note: str, change: Callable[[], Changed]) -> Changed:
        """Let the store change. Near duplicates that have lost their original by it are indexed in its place."""
        with self._writer(note) as writer:
            done = change()
            writer.snapshot = self.store.snapshot()
        return done

    def _writer(self, note: str, vectors: Mapping[str, NDArray[np.float32]] | None = None) -> Writer:
        self._check_writable()
        return Writer(self.store, self.splitter, note, vectors, self._show)

    def _check_writable(self) -> None:
        """Refuse to write to the past, or as a reader.

        Raises:
            KnowledgeError: an older generation is open, or a reader's view.
        """
        self._check_owner()
        if self.as_of is not None:
            raise KnowledgeError(f"{self.path} is open as of generation {self.as_of}: the past is for reading only")

    def _check_owner(self) -> None:
        if self.reader is not None:
            shown = ", ".join(self.reader) or "everybody"
            raise KnowledgeError(f"{self.path} is open for reading as {shown}: only its owner can do this")
