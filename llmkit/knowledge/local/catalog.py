"""The catalogue: SQLite, the truth of a knowledge base.

Rows are versions: each carries the generation it was born in and, once replaced or removed, the one it died in.
A generation is one SQLite transaction; vectors and the lexical index are derived from these tables.
"""

from __future__ import annotations

import json
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.lock import read_only
from llmkit.types import Chunk, Document

FORMAT = 2
_SCHEMA = """
CREATE TABLE meta (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE generations (id INTEGER PRIMARY KEY, at TEXT NOT NULL, note TEXT NOT NULL);
CREATE TABLE sources (
    seq INTEGER PRIMARY KEY, uri TEXT NOT NULL, root TEXT NOT NULL, name TEXT NOT NULL, kind TEXT NOT NULL,
    sha256 TEXT NOT NULL, size INTEGER NOT NULL, status TEXT NOT NULL, reason TEXT NOT NULL,
    access TEXT NOT NULL DEFAULT '[]', born INTEGER NOT NULL, died INTEGER);
CREATE UNIQUE INDEX live_sources ON sources (uri) WHERE died IS NULL;
CREATE TABLE documents (
    seq INTEGER PRIMARY KEY, id TEXT NOT NULL, source TEXT NOT NULL, title TEXT NOT NULL, text TEXT NOT NULL,
    version TEXT NOT NULL, metadata TEXT NOT NULL, notes TEXT NOT NULL, fates TEXT NOT NULL,
    access TEXT NOT NULL DEFAULT '[]', born INTEGER NOT NULL, died INTEGER);
CREATE UNIQUE INDEX live_documents ON documents (id) WHERE died IS NULL;
CREATE INDEX documents_by_source ON documents (source) WHERE died IS NULL;
CREATE TABLE chunks (
    row INTEGER PRIMARY KEY, document INTEGER NOT NULL REFERENCES documents (seq), ordinal INTEGER NOT NULL,
    start INTEGER NOT NULL, end INTEGER NOT NULL, text TEXT NOT NULL, tokens INTEGER NOT NULL, title TEXT NOT NULL,
    heading TEXT NOT NULL, page INTEGER, part TEXT, key BLOB NOT NULL, born INTEGER NOT NULL, died INTEGER);
CREATE INDEX chunks_by_document ON chunks (document);
CREATE INDEX chunks_by_key ON chunks (key);
CREATE INDEX chunks_by_death ON chunks (died) WHERE died IS NOT NULL;
CREATE TABLE duplicates (
    document INTEGER PRIMARY KEY REFERENCES documents (seq) ON DELETE CASCADE, original TEXT NOT NULL,
    version TEXT NOT NULL, similarity REAL NOT NULL, blocks TEXT NOT NULL);
CREATE INDEX duplicates_by_original ON duplicates (original);
CREATE TABLE signatures (
    document INTEGER PRIMARY KEY REFERENCES documents (seq) ON DELETE CASCADE, minhash BLOB NOT NULL);
CREATE TABLE segments (
    file TEXT PRIMARY KEY, rows INTEGER NOT NULL, sha256 TEXT NOT NULL, ids BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE spaces (
    born INTEGER PRIMARY KEY, first_row INTEGER NOT NULL, encoder TEXT NOT NULL, identity TEXT NOT NULL,
    dim INTEGER NOT NULL);
CREATE TABLE vector_indexes (
    file TEXT PRIMARY KEY, rows INTEGER NOT NULL, last INTEGER NOT NULL, sha256 TEXT NOT NULL,
    certificate TEXT NOT NULL) WITHOUT ROWID;
"""
_CHUNK = """SELECT c.row, d.id, c.ordinal, c.start, c.end, c.text, c.tokens, c.title, c.heading, c.page, c.part,
                   d.version, d.metadata, d.access
            FROM chunks c JOIN documents d ON d.seq = c.document"""


class Catalog:
    """One connection, guarded by a lock. Reads see the generation they ask for; writes go through `commit`."""

    def __init__(self, path: Path, *, create: bool = False) -> None:
        self.path = path
        self._lock = threading.RLock()
        try:
            where, uri = _address(path)
            self._db = sqlite3.connect(where, check_same_thread=False, isolation_level=None, timeout=30, uri=uri)
            if create:
                self._db.execute("PRAGMA journal_mode = WAL")
                self._db.executescript(f"BEGIN; {_SCHEMA} PRAGMA user_version = {FORMAT}; COMMIT;")
            self._db.execute("PRAGMA synchronous = FULL")
            self._db.execute("PRAGMA foreign_keys = ON")
            (version,) = self._db.execute("PRAGMA user_version").fetchone()
        except (sqlite3.DatabaseError, UnicodeDecodeError) as error:  # the latter of a message that quotes the damage
            raise KnowledgeError(f"{path} is not a catalogue that can be read: {error}") from error
        if version != FORMAT:
            what = f"has format {version}, this llmkit reads format {FORMAT}" if version else "holds nothing"
            raise KnowledgeError(f"{path} {what}: ingest again into another folder, or restore it from a copy")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def rows(self, sql: str, parameters: Sequence[Any] = ()) -> list[tuple[Any, ...]]:
        """All rows of a query."""
        with self._lock, self._told():
            return self._db.execute(sql, parameters).fetchall()

    def each(self, sql: str, parameters: Sequence[Any] = (), size: int = 1000) -> Iterator[tuple[Any, ...]]:
        """Rows of a query, some at a time, for results that are large."""
        with self._lock, self._told():
            cursor = self._db.execute(sql, parameters)
            rows = cursor.fetchmany(size)
        while rows:
            yield from rows
            with self._lock, self._told():
                rows = cursor.fetchmany(size)

    @contextmanager
    def snapshot(self) -> Iterator[None]:
        """Reads in the block see one commit, whatever another process commits meanwhile."""
        with self._lock:
            if self._db.in_transaction:
                yield
                return
            self.rows("BEGIN")
            try:
                yield
            finally:
                self.rows("COMMIT")

    @contextmanager
    def _told(self) -> Iterator[None]:
        """What SQLite or JSON say of a damaged file, as an error of ours."""
        try:
            yield
        except (sqlite3.DatabaseError, ValueError) as error:
            raise KnowledgeError(f"{self.path}: {error}") from error

    @contextmanager
    def commit(self, note: str) -> Iterator[tuple[int, sqlite3.Connection]]:
        """A transaction that makes the next generation; yields its number. Rolled back on any exception."""
        with self.transaction() as db:
            generation = self.generation() + 1
            at = datetime.now(UTC).isoformat(timespec="seconds")
            db.execute("INSERT INTO generations VALUES (?, ?, ?)", (generation, at, note))
            yield generation, db

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """A transaction that makes no generation: for what is derived. Rolled back on any exception."""
        with self._lock:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                try:
                    yield self._db
                    self._db.execute("COMMIT")
                except BaseException:
                    if self._db.in_transaction:  # a full disk has rolled it back already
                        self._db.execute("ROLLBACK")
                    raise
            except sqlite3.DatabaseError as error:
                raise KnowledgeError(f"{self.path}: {error}; nothing of this batch was kept") from error

    def generation(self) -> int:
        """The last committed generation; 0 for an empty knowledge base."""
        return int(self.rows("SELECT coalesce(max(id), 0) FROM generations")[0][0])

    def meta(self) -> dict[str, str]:
        """What was written down when the knowledge base was made."""
        return dict(self.rows("SELECT key, value FROM meta"))

    def set_meta(self, values: dict[str, str]) -> None:
        """Write down settings, all or none, outside of any generation."""
        with self.transaction() as db:
            db.executemany("INSERT OR REPLACE INTO meta VALUES (?, ?)", values.items())

    def chunks(self, rows: Sequence[int]) -> list[Chunk]:
        """Chunks by row, in the order given.

        Raises:
            KnowledgeError: a row that does not exist.
        """
        found: dict[int, Chunk] = {}
        for at in range(0, len(rows), 500):
            some = [int(row) for row in rows[at : at + 500]]
            marks = ",".join("?" * len(some))
            with self._told():
                found |= {row[0]: _chunk(row) for row in self.rows(f"{_CHUNK} WHERE c.row IN ({marks})", some)}
        try:
            return [found[int(row)] for row in rows]
        except KeyError as error:
            raise KnowledgeError(
                f"the index names chunk {error}, the catalogue has none: run the ingest again"
            ) from error

    def live_rows(self, generation: int, condition: str = "", parameters: Sequence[Any] = ()) -> NDArray[np.int64]:
        """Rows of the chunks that live in `generation`, ascending.

        `condition` is SQL over c (chunks) and d (documents), with bound parameters.
        """
        more = f"AND ({condition})" if condition else ""
        found = self.rows(
            f"""SELECT c.row FROM chunks c JOIN documents d ON d.seq = c.document
                WHERE c.born <= ? AND (c.died IS NULL OR c.died > ?) {more} ORDER BY c.row""",  # noqa: S608
            (generation, generation, *parameters),
        )
        return np.fromiter((row for (row,) in found), dtype=np.int64, count=len(found))

    def document(self, name: str, version: str | None, generation: int) -> Document | None:
        """A document by id: that of a generation, or the version named; None where there is none."""
        alive = "id = ? AND born <= ? AND (died IS NULL OR died > ?)", (name, generation, generation)
        named = "id = ? AND version = ? ORDER BY born DESC LIMIT 1", (name, version)
        return next(iter(self.documents(*(named if version else alive))), None)

    def documents(self, condition: str, parameters: Sequence[Any] = ()) -> Iterable[Document]:
        """Documents by an SQL condition over table documents; structure blocks are not kept."""
        sql = f"SELECT id, text, title, metadata, notes, access FROM documents WHERE {condition}"  # noqa: S608
        for name, text, title, metadata, notes, access in self.each(sql, parameters, size=50):
            with self._told():
                told, readers = tuple(json.loads(notes)), tuple(json.loads(access))
                document = Document(name, text, title, json.loads(metadata), notes=told, access=readers)
            yield document


def _address(path: Path) -> tuple[str, bool]:
    """What SQLite is given, and whether that is a URI. On a disk for reading only it must not try to make its log.

    Raises:
        KnowledgeError: the log of the last session was not folded in and cannot be now.
    """
    if not path.exists() or not read_only(path):
        return str(path), False
    log = path.with_name(f"{path.name}-wal")
    if log.exists() and log.stat().st_size:
        raise KnowledgeError(
            f"{path.parent} is on a disk for reading only and {log.name} holds commits that must be folded in: copy "
            "the folder to a disk that can be written"
        )
    return f"{path.absolute().as_uri()}?immutable=1", True


def _chunk(row: tuple[Any, ...]) -> Chunk:
    return Chunk(
        row=row[0],
        document=row[1],
        ordinal=row[2],
        start=row[3],
        end=row[4],
        text=row[5],
        tokens=row[6],
        title=row[7],
        heading=tuple(json.loads(row[8])),
        page=row[9],
        part=row[10],
        version=row[11],
        metadata=json.loads(row[12]),
        access=tuple(json.loads(row[13])),
    )
