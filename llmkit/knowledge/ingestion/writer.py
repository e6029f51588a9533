"""Writing: documents become chunks and vectors, and a batch of them becomes a generation.

The order is what makes it safe: vectors are on disk, then SQLite commits, then the lexical index follows. Whatever
is killed in between leaves the last commit whole; see :mod:`llmkit.knowledge.local.vectors.segments` and
:mod:`llmkit.knowledge.local.lexical.index` for what is dropped or caught up.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from llmkit.encoders.bilingual_dictionary import missing_dictionary_note
from llmkit.errors import KnowledgeError
from llmkit.knowledge import access_labels, embedding_spaces
from llmkit.knowledge.analyzers import AUTO, guess
from llmkit.knowledge.ingestion.batch import Batch, insert
from llmkit.knowledge.ingestion.duplicate_tracker import Twins
from llmkit.knowledge.local.ann import index_policy
from llmkit.knowledge.local.lexical.catch_up import caught_up, open_level
from llmkit.knowledge.local.lexical.index import LexicalIndex
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.settings import near_duplicates
from llmkit.knowledge.validate_vectors import unit_vectors
from llmkit.types import Chunk, Document

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

_BATCH_CHUNKS = 4096
_BATCH_SECONDS = 20.0


class Writer:
    """Collects changes and commits them by the batch; the caller holds the writer lock.

    Left without an exception, the rest is committed. With one, only whole batches were.
    """

    def __init__(self, kb: KnowledgeBase, note: str, vectors: Mapping[str, NDArray[np.float32]] | None = None) -> None:
        self.kb, self.note, self._given = kb, note, vectors or {}
        self.encoded = self.reused = self.given = self.chunks = self.commits = self.duplicates = 0
        self.batch = Batch()
        self._twins: Twins | None = None

    def __enter__(self) -> Self:
        self.kb.refresh()
        threshold = near_duplicates(self.kb.catalog.meta())
        if threshold is not None:
            self._twins = Twins(self, threshold)
        segments.drop_unlisted(self.kb.path / "vectors", self.kb.catalog)
        index_file.drop_unlisted(self.kb.path / index_file.FOLDER, self.kb.catalog)
        # both as of the last commit, before anything is added
        self.kb.__dict__["lexical"] = open_level(self.kb, writing=True)
        _ = self.kb.index
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.flush()
            index_policy.keep_up(self.kb)

    def live(self, name: str) -> tuple[int, str, str] | None:
        """(seq, source, version) of a live document, in the catalogue or in this batch."""
        if name in self.batch.versions:
            return -1, *self.batch.versions[name]
        found = self.kb.catalog.rows(
            "SELECT seq, source, version FROM documents WHERE id = ? AND died IS NULL", (name,)
        )
        return found[0] if found and found[0][0] not in self.batch.dead_documents else None

    def put(self, source: str, document: Document, replaces: int | None) -> None:
        """Add a document, instead of the one at seq `replaces`; a near duplicate is kept and not indexed."""
        self._flush_if_full()
        self.take(source, document, replaces)
        self.duplicates += document.id in self.batch.twins

    def take(self, source: str, document: Document, replaces: int | None) -> None:
        """Like `put`, without a commit in between."""
        if replaces is not None:
            self.batch.dead_documents[replaces] = None
        self.batch.documents.append((source, document, self.chunks_of(document)))
        self.batch.versions[document.id] = (source, document.version)
        self.batch.given[document.id] = document

    def chunks_of(self, document: Document) -> list[Chunk]:
        """What will be indexed of a document: nothing where it is a near duplicate, which is noted."""
        self.batch.twins.pop(document.id, None)
        twin = self._twins.of(document) if self._twins else None
        if twin:
            self.batch.twins[document.id] = twin
            return []
        chunks = self.kb.splitter.split(document, self.kb.encoder)
        self.batch.chunks += len(chunks)
        self.chunks += len(chunks)
        return chunks

    def begin_source(self, row: tuple[Any, ...]) -> None:
        """Note a source whose documents follow: as partial, so that no commit between them calls it read."""
        self._flush_if_full()
        self.put_source(row)

    def put_source(self, row: tuple[Any, ...]) -> None:
        """Note a source, instead of what was noted: (uri, root, name, kind, sha256, size, status, reason, access)."""
        self.batch.dead_sources.append(row[0])
        self.batch.sources[row[0]] = row

    def remove_document(self, name: str) -> bool:
        """Take a document out; False where it was not there."""
        found = self.live(name)
        if found is None:
            return False
        if found[0] < 0:
            self.flush()
            return self.remove_document(name)
        self.batch.dead_documents[found[0]] = None
        self._incomplete(found[1])
        return True

    def _incomplete(self, uri: str) -> None:
        """Note of a file that it is not all here any more, so that the next ingest reads it."""
        noted = self.kb.catalog.rows(
            "SELECT uri, root, name, kind, sha256, size, access FROM sources WHERE uri = ? AND died IS NULL", (uri,)
        )
        for *row, readers in noted:
            self.put_source((*row, "partial", "documents of it were deleted", readers))

    def remove_seq(self, seq: int) -> None:
        """Take a document out by its seq."""
        self.batch.dead_documents[seq] = None

    def remove_source(self, uri: str) -> int:
        """Take a source and its documents out; returns how many documents."""
        found = self.kb.catalog.rows("SELECT seq FROM documents WHERE source = ? AND died IS NULL", (uri,))
        self.batch.dead_sources.append(uri)
        self.batch.dead_documents |= dict.fromkeys(seq for (seq,) in found)
        return len(found)

    def _flush_if_full(self) -> None:
        if self.batch.chunks >= _BATCH_CHUNKS or time.monotonic() - self.batch.started > _BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Commit what was collected as one generation."""
        if self._twins:
            self._twins.compare_again()
        batch, self.batch = self.batch, Batch()
        if batch.empty:
            return
        kb = self.kb
        _ = kb.index  # as of the last commit: a purge has let go of it
        chunks = [chunk for _, _, chunks in batch.documents for chunk in chunks]
        vectors, keys = self._vectors(chunks)
        ids = fresh_rows(kb, len(chunks))
        merged: list[Segment] = []
        language = self._language(chunks)
        with kb.catalog.commit(self.note) as (generation, db):
            if language:
                db.execute("INSERT INTO meta VALUES ('language_found', ?)", (language,))
            died = bury(db, generation, list(batch.dead_documents), batch.dead_sources)
            insert(db, generation, batch, ids, keys, self._twins.near.signatures if self._twins else {})
            merged = store_vectors(kb, db, ids, vectors, generation)
        self.commits += 1
        if language and language != kb.lexical.language:  # it holds nothing yet
            kb.__dict__["lexical"] = LexicalIndex(kb.path / "lexical", language)
        follow(kb, generation, merged, died, ids, vectors, [chunk.indexed_text for chunk in chunks])
        index_policy.keep_up(kb)

    def _language(self, chunks: list[Chunk]) -> str:
        """The language to write down with the first chunks; empty where it was given, or is known."""
        meta = self.kb.catalog.meta()
        if not chunks or meta.get("language") != AUTO or "language_found" in meta:
            return ""
        public = [chunk for chunk in chunks if not chunk.access]  # what is forbidden must not decide for others
        found = guess([chunk.indexed_text for chunk in public or chunks])
        if found.note:
            self.kb.notes.append(f"{found.note}; --language names another, for a new knowledge base")
        if missing := missing_dictionary_note(self.kb.encoder, found.code):
            self.kb.notes.append(missing)
        return found.code

    def _vectors(self, chunks: list[Chunk]) -> tuple[NDArray[np.float32], list[bytes]]:
        """Vectors (n, dim) of the chunks; what was ever encoded here before is copied, not encoded again.

        What different readers may read is encoded apart: a bfloat16 vector's last digits depend on its batch.
        """
        keys = [embedding_spaces.passage_key(self.kb.identity, chunk) for chunk in chunks]
        known = self._known(keys)
        groups: dict[tuple[str, ...], dict[bytes, list[int]]] = {}  # places by labels and text
        vectors = np.empty((len(chunks), self.kb.dim), dtype=np.float32)
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
            vectors[old] = self.kb.vectors(rows)
        return vectors, keys

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        encoder = self.kb.encoder
        known = np.array([text in self._given for text in texts], dtype=np.bool_)
        vectors = np.empty((len(texts), self.kb.dim), dtype=np.float32)
        if known.any():
            vectors[known] = [self._given[text] for text in texts if text in self._given]
        if not known.all():
            new = [text for text in texts if text not in self._given]
            vectors[~known] = unit_vectors(
                encoder.encode_passages(new), len(new), self.kb.dim, f"the encoder {encoder.identity}"
            )
        self.given += int(known.sum())
        self.encoded += int((~known).sum())
        return unit_vectors(vectors, len(texts), self.kb.dim, "what came with the texts")

    def _known(self, keys: list[bytes]) -> dict[tuple[bytes, str], int]:
        """Rows with the vector of a text, by its key and the labels of those who may read it, or its document's id."""
        found: dict[tuple[bytes, str], int] = {}
        for at in range(0, len(keys), 500):
            some = keys[at : at + 500]
            marks = ",".join("?" * len(some))
            sql = f"""SELECT c.key, d.access, d.id, c.row FROM chunks c JOIN documents d ON d.seq = c.document
                      WHERE c.key IN ({marks}) AND c.row >= ?"""  # noqa: S608
            for key, readers, name, row in self.kb.catalog.rows(sql, (*some, self.kb.space.first_row)):
                found[key, readers] = found[key, name] = row
        return found


def fresh_rows(kb: KnowledgeBase, count: int) -> NDArray[np.int64]:
    """Rows that no chunk ever had, ascending, (count,)."""
    last = int(kb.catalog.rows("SELECT coalesce(max(row), 0) FROM chunks")[0][0])
    last = max(last, int(kb.catalog.meta().get("last_row", 0)))  # those of purged chunks are not given again
    return np.arange(last + 1, last + 1 + count, dtype=np.int64)


def store_vectors(
    kb: KnowledgeBase, db: sqlite3.Connection, ids: NDArray[np.int64], vectors: NDArray[np.float32], generation: int
) -> list[Segment]:
    """Write vectors to disk and name them in the open transaction; returns the segments they were merged with."""
    if not len(ids):
        return []
    folder = kb.path / "vectors"
    mine = embedding_spaces.listed(kb.catalog, kb.space)
    merged = segments.to_merge(mine, len(ids))
    parts = [segments.read(folder, segment, kb.dim) for segment in merged]
    all_ids = np.concatenate([*(segment.ids for segment in merged), ids])
    made = segments.write(folder, [*parts, vectors], all_ids, generation)
    segments.replace(db, merged, [made])
    return merged


def follow(
    kb: KnowledgeBase,
    generation: int,
    merged: list[Segment],
    died: list[int],
    ids: NDArray[np.int64],
    vectors: NDArray[np.float32],
    texts: list[str],
) -> None:
    """Bring what is derived, on disk and in memory, to a generation that was committed."""
    kb.generation = generation
    segments.unlink(kb.path / "vectors", merged)
    try:
        kb.index.remove(np.asarray(died, dtype=np.int64))
        kb.index.add(ids, vectors)
        try:
            kb.lexical.update(generation, died, zip(ids.tolist(), texts, strict=True))
        except KnowledgeError:
            kb.__dict__["lexical"] = caught_up(kb, kb.lexical)
    except BaseException:
        kb.reread()
        raise


def bury(db: sqlite3.Connection, generation: int, documents: list[int], sources: list[str]) -> list[int]:
    """End the life of documents (by seq), their chunks, and sources (by URI); returns the chunk rows."""
    died: list[int] = []
    for seq in documents:
        db.execute("UPDATE documents SET died = ? WHERE seq = ? AND died IS NULL", (generation, seq))
        rows = db.execute("SELECT row FROM chunks WHERE document = ? AND died IS NULL", (seq,)).fetchall()
        died += [row for (row,) in rows]
        db.execute("UPDATE chunks SET died = ? WHERE document = ? AND died IS NULL", (generation, seq))
    db.executemany("UPDATE sources SET died = ? WHERE uri = ? AND died IS NULL", [(generation, uri) for uri in sources])
    return died
