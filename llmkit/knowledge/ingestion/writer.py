"""Writing: documents become chunks and vectors, and a batch of them becomes a generation."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from types import TracebackType
from typing import Self

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.bilingual_dictionary import missing_dictionary_note
from llmkit.knowledge import access_labels, embedding_spaces
from llmkit.knowledge.analyzers import AUTO, guess
from llmkit.knowledge.ingestion.batch import Batch
from llmkit.knowledge.ingestion.duplicate_tracker import DuplicateTracker
from llmkit.knowledge.settings import near_duplicates
from llmkit.knowledge.store import Change, NewDocument, Snapshot, SourceRow, Store
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.text.splitter import StructureSplitter
from llmkit.types import Chunk, Document

_BATCH_CHUNKS = 4096
_BATCH_SECONDS = 20.0


class Writer:
    """Collects changes and commits them by the batch; use it in a ``with`` block, which keeps other writers out.

    When the block ends without an exception, the rest is committed. With one, only whole batches were.
    """

    def __init__(
        self,
        store: Store,
        splitter: StructureSplitter,
        note: str,
        vectors: Mapping[str, NDArray[np.float32]] | None = None,
        on_commit: Callable[[Snapshot], None] = lambda snapshot: None,
    ) -> None:
        """Prepare to write.

        Args:
            store: where to.
            splitter: makes the chunks.
            note: stands beside every generation that is committed.
            vectors: (dim,) of passages that the encoder need not be asked for, by their indexed text; unit length.
            on_commit: called with the new snapshot after each commit.
        """
        self.store, self.note, self._splitter, self._on_commit = store, note, splitter, on_commit
        self._given = vectors or {}
        self.encoded = self.reused = self.given = self.chunks = self.duplicates = 0
        self.batch = Batch()
        self._open = ExitStack()
        self._tracker: DuplicateTracker | None = None

    def __enter__(self) -> Self:
        self._open.enter_context(self.store.writing(self.note))
        try:
            self.snapshot = self.store.snapshot()
            threshold = near_duplicates(self.store.meta())
            if threshold is not None:
                self._tracker = DuplicateTracker(self.store, threshold)
        except BaseException:
            self._open.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                with self._open:
                    self.flush()
            else:
                self._open.__exit__(kind, error, trace)
        finally:  # what was committed is shown, whatever failed after it
            self._on_commit(self.store.snapshot())

    def live(self, name: str) -> tuple[str, str] | None:
        """(source, version) of a live document, in the store or in this batch."""
        if name in self.batch.by_id:
            source, document = self.batch.by_id[name]
            return source, document.version
        found = self.snapshot.find(name)
        return (found.source, found.version) if found and name not in self.batch.removed else None

    def put(self, source: str, document: Document) -> None:
        """Add a document, instead of the one of the same id; a near duplicate is kept and not indexed."""
        self._flush_if_full()
        self._take(source, document)
        self.duplicates += document.id in self.batch.duplicates

    def begin_source(self, row: SourceRow) -> None:
        """Note a source whose documents follow: as partial, so that no commit between them calls it read."""
        self._flush_if_full()
        self.put_source(row)

    def put_source(self, row: SourceRow) -> None:
        """Note a source, instead of what was noted of the same URI."""
        self.batch.removed_sources.append(row.uri)
        self.batch.sources[row.uri] = row

    def remove_document(self, name: str) -> bool:
        """Take a document out; False where it was not there."""
        found = self.live(name)
        if found is None:
            return False
        if name in self.batch.by_id:
            self.flush()
        self.batch.removed[name] = None
        noted = self.snapshot.source(found[0])
        if noted is not None:  # the file is not all here any more: the next ingest reads it
            self.put_source(replace(noted, status="partial", reason="documents of it were deleted"))
        return True

    def remove(self, name: str) -> None:
        """Take a document out that its source has no more."""
        self.batch.removed[name] = None

    def remove_source(self, uri: str) -> int:
        """Take a source and its documents out; returns how many documents."""
        found = self.snapshot.document_ids(uri)
        self.batch.removed_sources.append(uri)
        self.batch.removed |= dict.fromkeys(found)
        return len(found)

    def flush(self) -> None:
        """Commit what was collected as one generation."""
        if self._tracker:
            self._compare_again(self._tracker)
        batch, self.batch = self.batch, Batch()
        if batch.empty:
            return
        chunks = [chunk for _, _, some in batch.documents for chunk in some]
        vectors, keys = self._vectors(chunks)
        signatures = self._tracker.near.signatures if self._tracker else {}
        documents = [
            NewDocument(
                source,
                document,
                some,
                batch.duplicates.get(document.id),
                None if document.id in batch.duplicates else signatures.pop(document.id, None),
            )
            for source, document, some in batch.documents
        ]
        change = Change(
            documents,
            vectors,
            keys,
            list(batch.removed),
            list(batch.sources.values()),
            batch.removed_sources,
            self._language(chunks),
        )
        self.store.commit(self.note, change)
        self.snapshot = self.store.snapshot()
        self._on_commit(self.snapshot)

    def _flush_if_full(self) -> None:
        if self.batch.chunks >= _BATCH_CHUNKS or time.monotonic() - self.batch.started > _BATCH_SECONDS:
            self.flush()

    def _take(self, source: str, document: Document) -> None:
        if document.id not in self.batch.by_id and self.snapshot.find(document.id) is not None:
            self.batch.removed[document.id] = None
        self.batch.documents.append((source, document, self._chunks_of(document)))
        self.batch.by_id[document.id] = source, document

    def _chunks_of(self, document: Document) -> list[Chunk]:
        """What will be indexed of a document: nothing where it is a near duplicate, which is noted."""
        self.batch.duplicates.pop(document.id, None)
        original = self._tracker.original_of(document, self.batch, self.snapshot) if self._tracker else None
        if original:
            self.batch.duplicates[document.id] = original
            return []
        chunks = self._splitter.split(document, self.snapshot.encoder)
        self.batch.chunks += len(chunks)
        self.chunks += len(chunks)
        return chunks

    def _compare_again(self, tracker: DuplicateTracker) -> None:
        """Compare near duplicates whose original is gone, goes, or changes with the batch; they may be indexed now."""
        for source, document in tracker.lost(self.batch):
            self._take(source, document)
        if self.batch.removed:
            for position in tracker.without_original(self.batch, self.snapshot):
                source, document, _ = self.batch.documents[position]
                self.batch.documents[position] = source, document, self._chunks_of(document)

    def _language(self, chunks: list[Chunk]) -> str:
        """The language to write down with the first chunks; empty where it was given, or is known."""
        meta = self.store.meta()
        if not chunks or meta.get("language") != AUTO or "language_found" in meta:
            return ""
        public = [chunk for chunk in chunks if not chunk.access]  # what is forbidden must not decide for others
        found = guess([chunk.indexed_text for chunk in public or chunks])
        if found.note:
            self.store.notes.add(f"{found.note}; --language names another, for a new knowledge base")
        if missing := missing_dictionary_note(self.snapshot.encoder, found.code):
            self.store.notes.add(missing)
        return found.code

    def _vectors(self, chunks: list[Chunk]) -> tuple[NDArray[np.float32], list[bytes]]:
        """Vectors (n, dim) of the chunks; what was ever encoded here before is copied, not encoded again.

        Chunks with different access labels are encoded apart: a bfloat16 vector's last digits depend on its batch.
        """
        space = self.snapshot.space
        keys = [embedding_spaces.passage_key(space.identity, chunk) for chunk in chunks]
        known = self.store.known_vectors(keys)
        groups: dict[tuple[str, ...], dict[bytes, list[int]]] = {}  # places by labels and text
        vectors = np.empty((len(chunks), space.dim), dtype=np.float32)
        old, rows = [], []
        for i, (key, chunk) in enumerate(zip(keys, chunks, strict=True)):
            row = known.get((key, access_labels.written(chunk.access)), known.get((key, chunk.document)))
            if row is None:
                groups.setdefault(chunk.access, {}).setdefault(key, []).append(i)
            else:
                old.append(i)
                rows.append(row)
        for missing in groups.values():
            encoded = self._encode([chunks[places[0]].indexed_text for places in missing.values()])
            for vector, places in zip(encoded, missing.values(), strict=True):
                vectors[places] = vector
        self.reused += len(chunks) - sum(map(len, groups.values()))
        if old:
            vectors[old] = self.snapshot.vectors(rows)
        return vectors, keys

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        encoder, dim = self.snapshot.encoder, self.snapshot.space.dim
        known = np.array([text in self._given for text in texts], dtype=np.bool_)
        vectors = np.empty((len(texts), dim), dtype=np.float32)
        if known.any():
            vectors[known] = [self._given[text] for text in texts if text in self._given]
        if not known.all():
            new = [text for text in texts if text not in self._given]
            vectors[~known] = unit_vectors(
                encoder.encode_passages(new), len(new), dim, f"the encoder {encoder.identity}"
            )
        self.given += int(known.sum())
        self.encoded += int((~known).sum())
        return unit_vectors(vectors, len(texts), dim, "what came with the texts")
