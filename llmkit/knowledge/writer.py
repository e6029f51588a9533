"""Writing: documents become chunks and vectors, and a batch of them becomes a generation.

The order is what makes it safe: vectors are on disk, then SQLite commits, then the lexical index follows. Whatever
is killed in between leaves the last commit whole; see :mod:`llmkit.knowledge.segments` and
:mod:`llmkit.knowledge.lexical` for what is dropped or caught up.
"""

from __future__ import annotations

import json
import sqlite3
import time
from dataclasses import dataclass, field
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge import index_file, indexing, segments, spaces
from llmkit.knowledge.level import caught_up, open_level
from llmkit.knowledge.segments import Segment
from llmkit.knowledge.unit import unit_vectors
from llmkit.text.ledger import ledger, totals
from llmkit.types import Chunk, Document

if TYPE_CHECKING:
    from llmkit.knowledge.base import KnowledgeBase

_BATCH_CHUNKS = 4096
_BATCH_SECONDS = 20.0


@dataclass
class _Batch:
    """What the next generation will hold."""

    documents: list[tuple[str, Document, list[Chunk]]] = field(default_factory=list)
    """Source, document, chunks."""
    sources: dict[str, tuple[Any, ...]] = field(default_factory=dict)
    """What is noted of a source, by URI."""
    versions: dict[str, tuple[str, str]] = field(default_factory=dict)
    """Source and version of the documents, by id."""
    dead_documents: dict[int, None] = field(default_factory=dict)
    """Their seqs, as an ordered set."""
    dead_sources: list[str] = field(default_factory=list)
    chunks: int = 0
    started: float = field(default_factory=time.monotonic)

    @property
    def empty(self) -> bool:
        return not (self.documents or self.sources or self.dead_documents or self.dead_sources)


class Writer:
    """Collects changes and commits them by the batch; the caller holds the writer lock.

    Left without an exception, the rest is committed. With one, only whole batches were.
    """

    def __init__(self, kb: KnowledgeBase, note: str) -> None:
        self.kb, self.note = kb, note
        self.encoded = self.reused = self.chunks = self.commits = 0
        self._batch = _Batch()

    def __enter__(self) -> Self:
        self.kb.refresh()
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
            indexing.keep_up(self.kb)

    def live(self, name: str) -> tuple[int, str, str] | None:
        """(seq, source, version) of a live document, in the catalogue or in this batch."""
        if name in self._batch.versions:
            return -1, *self._batch.versions[name]
        found = self.kb.catalog.rows(
            "SELECT seq, source, version FROM documents WHERE id = ? AND died IS NULL", (name,)
        )
        return found[0] if found and found[0][0] not in self._batch.dead_documents else None

    def put(self, source: str, document: Document, replaces: int | None) -> None:
        """Add a document, instead of the one at seq `replaces`."""
        self._flush_if_full()
        chunks = self.kb.splitter.split(document, self.kb.encoder)
        if replaces is not None:
            self._batch.dead_documents[replaces] = None
        self._batch.documents.append((source, document, chunks))
        self._batch.versions[document.id] = (source, document.version)
        self._batch.chunks += len(chunks)
        self.chunks += len(chunks)

    def begin_source(self, row: tuple[Any, ...]) -> None:
        """Note a source whose documents follow: as partial, so that no commit between them calls it read."""
        self._flush_if_full()
        self.put_source(row)

    def put_source(self, row: tuple[Any, ...]) -> None:
        """Note a source: (uri, root, name, kind, sha256, size, status, reason), instead of what was noted before."""
        self._batch.dead_sources.append(row[0])
        self._batch.sources[row[0]] = row

    def remove_document(self, name: str) -> bool:
        """Take a document out; False where it was not there."""
        found = self.live(name)
        if found is None:
            return False
        if found[0] < 0:
            self.flush()
            return self.remove_document(name)
        self._batch.dead_documents[found[0]] = None
        self._incomplete(found[1])
        return True

    def _incomplete(self, uri: str) -> None:
        """Note of a file that it is not all here any more, so that the next ingest reads it."""
        noted = self.kb.catalog.rows(
            "SELECT uri, root, name, kind, sha256, size FROM sources WHERE uri = ? AND died IS NULL", (uri,)
        )
        for row in noted:
            self.put_source((*row, "partial", "documents of it were deleted"))

    def remove_seq(self, seq: int) -> None:
        """Take a document out by its seq."""
        self._batch.dead_documents[seq] = None

    def remove_source(self, uri: str) -> int:
        """Take a source and its documents out; returns how many documents."""
        found = self.kb.catalog.rows("SELECT seq FROM documents WHERE source = ? AND died IS NULL", (uri,))
        self._batch.dead_sources.append(uri)
        self._batch.dead_documents |= dict.fromkeys(seq for (seq,) in found)
        return len(found)

    def _flush_if_full(self) -> None:
        if self._batch.chunks >= _BATCH_CHUNKS or time.monotonic() - self._batch.started > _BATCH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Commit what was collected as one generation."""
        batch, self._batch = self._batch, _Batch()
        if batch.empty:
            return
        kb = self.kb
        chunks = [chunk for _, _, chunks in batch.documents for chunk in chunks]
        vectors, keys = self._vectors(chunks)
        ids = fresh_rows(kb, len(chunks))
        merged: list[Segment] = []
        with kb.catalog.commit(self.note) as (generation, db):
            died = bury(db, generation, list(batch.dead_documents), batch.dead_sources)
            _insert(db, generation, batch, ids, keys)
            merged = store_vectors(kb, db, ids, vectors, generation)
        self.commits += 1
        follow(kb, generation, merged, died, ids, vectors, [chunk.indexed_text for chunk in chunks])
        indexing.keep_up(kb)

    def _vectors(self, chunks: list[Chunk]) -> tuple[NDArray[np.float32], list[bytes]]:
        """Vectors (n, dim) of the chunks; what was ever encoded here before is copied, not encoded again."""
        keys = [self._key(chunk) for chunk in chunks]
        known = self._known(keys)
        missing: dict[bytes, str] = {}
        for key, chunk in zip(keys, chunks, strict=True):
            if key not in known:
                missing.setdefault(key, chunk.indexed_text)
        encoded = self._encode(list(missing.values())) if missing else None
        self.encoded += len(missing)
        self.reused += len(chunks) - len(missing)
        place = {key: i for i, key in enumerate(missing)}
        vectors = np.empty((len(chunks), self.kb.dim), dtype=np.float32)
        if encoded is not None:
            new = [i for i, key in enumerate(keys) if key in place]
            vectors[new] = encoded[[place[keys[i]] for i in new]]
        old = [i for i, key in enumerate(keys) if key in known]
        if old:
            vectors[old] = self.kb.vectors([known[keys[i]] for i in old])
        return vectors, keys

    def _encode(self, texts: list[str]) -> NDArray[np.float32]:
        encoder = self.kb.encoder
        vectors = encoder.encode_passages(texts)
        return unit_vectors(vectors, len(texts), self.kb.dim, f"the encoder {encoder.identity}")

    def _key(self, chunk: Chunk) -> bytes:
        return spaces.passage_key(self.kb.identity, chunk)

    def _known(self, keys: list[bytes]) -> dict[bytes, int]:
        found: dict[bytes, int] = {}
        for at in range(0, len(keys), 500):
            some = keys[at : at + 500]
            marks = ",".join("?" * len(some))
            found |= dict(
                self.kb.catalog.rows(
                    f"SELECT key, row FROM chunks WHERE key IN ({marks}) AND row >= ?",  # noqa: S608
                    (*some, self.kb.space.first_row),
                )
            )
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
    mine = spaces.listed(kb.catalog, kb.space)
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


def _insert(db: sqlite3.Connection, generation: int, batch: _Batch, ids: NDArray[np.int64], keys: list[bytes]) -> None:
    db.executemany(
        """INSERT INTO sources (uri, root, name, kind, sha256, size, status, reason, born)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [(*row, generation) for row in batch.sources.values()],
    )
    at = 0
    for source, document, chunks in batch.documents:
        fates = totals(ledger(document, chunks))
        cursor = db.execute(
            """INSERT INTO documents (id, source, title, text, version, metadata, notes, fates, born)
               VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)""",
            (
                document.id, source, document.title, document.text, document.version,
                json.dumps(document.metadata, ensure_ascii=False), json.dumps(document.notes), json.dumps(fates),
                generation,
            ),
        )  # fmt: skip
        seq = cursor.lastrowid
        db.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [
                (
                    row, seq, chunk.ordinal, chunk.start, chunk.end, chunk.text, chunk.tokens, chunk.title,
                    json.dumps(chunk.heading, ensure_ascii=False), chunk.page, chunk.part, key, generation,
                )
                for row, chunk, key in zip(ids[at:].tolist(), chunks, keys[at:], strict=False)
            ],
        )  # fmt: skip
        at += len(chunks)
