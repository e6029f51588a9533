"""Rollback: a new generation that holds what an older one held. Nothing in between is lost."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace

import numpy as np

from llmkit.knowledge.embedding_spaces import EmbeddingSpace
from llmkit.knowledge.local import generations, spaces
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.commit import end_lives, fresh_rows, store_vectors
from llmkit.knowledge.local.folder import Folder
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.store import Diff
from llmkit.types import Document

_DOCUMENT = "id, source, title, text, version, metadata, notes, fates, access"
_CHUNK = "ordinal, start, end, text, tokens, title, heading, page, part, key"
_SOURCE = "uri, root, name, kind, sha256, size, status, reason, access"


def rollback(folder: Folder, to: int | str) -> Diff:
    """Make the knowledge base hold what it held at an older generation or date; nothing is encoded.

    Returns:
        What came, went and changed; empty where nothing had to.

    Raises:
        KnowledgeError: no such generation, it was compacted, or another process is writing.
    """
    with folder.exclusive("rollback"):
        catalog, newest = folder.write_catalog, folder.newest
        target = generations.resolve(catalog, to)
        found = generations.diff(catalog, newest.generation, target)
        space = spaces.at(catalog, target)
        if space.identity != newest.space.identity:
            _over_a_reencoding(folder, target, space)
            folder.notes.add(f"the encoder is {space.identity} again; it was {newest.space.identity}")
            return found
        if found == Diff((), (), ()):
            return found
        now, then = generations.live(catalog, newest.generation), generations.live(catalog, target)
        dead = [now[name][0] for name in (*found.removed, *found.changed)]
        back = [then[name][0] for name in (*found.added, *found.changed)]
        old = [row for seq in back for row in rows_of(catalog, seq)]
        ids, vectors = fresh_rows(catalog, len(old)), newest.vectors(old)
        with catalog.commit(f"rollback to generation {target}") as (generation, db):
            died = end_lives(db, generation, dead, [])
            _sources_back(db, generation, target)
            new = iter(ids.tolist())
            for seq in back:
                copy_document(db, seq, generation, [next(new) for _ in rows_of(catalog, seq)])
            merged = store_vectors(folder, db, ids, vectors, generation)
        texts = [chunk.indexed_text for chunk in catalog.chunks(ids.tolist())]
        folder.advance(generation, merged, died, ids, np.asarray(vectors), texts)
    return found


def _over_a_reencoding(folder: Folder, target: int, space: EmbeddingSpace) -> None:
    """Everything comes back with the vectors it had, and the encoder with it."""
    catalog = folder.write_catalog
    now, then = generations.live(catalog, folder.head()), generations.live(catalog, target)
    back = [seq for seq, _ in then.values()]
    old = [row for seq in back for row in rows_of(catalog, seq)]
    ids, vectors = fresh_rows(catalog, len(old)), folder.snapshot(target).vectors(old)
    with catalog.commit(f"rollback to generation {target}") as (generation, db):
        end_lives(db, generation, [seq for seq, _ in now.values()], [])
        _sources_back(db, generation, target)
        new = iter(ids.tolist())
        for seq in back:
            copy_document(db, seq, generation, [next(new) for _ in rows_of(catalog, seq)])
        begins = int(fresh_rows(catalog, 1)[0]) if not len(ids) else int(ids[0])
        spaces.record(db, replace(space, born=generation, first_row=begins))
        index_file.replace(db, None)  # it covers rows of the other encoder; a new one is made when it is due
        if len(ids):
            path = folder.path / segments.FOLDER
            segments.replace(db, [], [segments.write(path, [vectors], ids, generation)])
    folder.reopen()


def _sources_back(db: sqlite3.Connection, generation: int, target: int) -> None:
    db.execute("UPDATE sources SET died = ? WHERE died IS NULL AND born > ?", (generation, target))
    db.execute(  # column names are ours
        f"""INSERT INTO sources ({_SOURCE}, born) SELECT {_SOURCE}, ? FROM sources
            WHERE born <= ? AND died > ? AND uri NOT IN (SELECT uri FROM sources WHERE died IS NULL)""",  # noqa: S608
        (generation, target, target),
    )


def rows_of(catalog: Catalog, seq: int) -> list[int]:
    """Rows of a document's chunks, in order."""
    return [row for (row,) in catalog.rows("SELECT row FROM chunks WHERE document = ? ORDER BY row", (seq,))]


def copy_document(db: sqlite3.Connection, seq: int, generation: int, ids: list[int]) -> None:
    """A document and its chunks once more, born now. Who may read it stays as it was said last."""
    labels = _labels(db, seq)
    cursor = db.execute(
        f"INSERT INTO documents ({_DOCUMENT}, born) SELECT {_DOCUMENT}, ? FROM documents WHERE seq = ?",  # noqa: S608
        (generation, seq),
    )
    if labels:
        db.execute("UPDATE documents SET access = ?, version = ? WHERE seq = ?", (*labels, cursor.lastrowid))
    for table, kept in (("duplicates", "original, version, similarity, blocks"), ("signatures", "minhash")):
        db.execute(
            f"INSERT INTO {table} (document, {kept}) SELECT ?, {kept} FROM {table} WHERE document = ?",  # noqa: S608
            (cursor.lastrowid, seq),
        )
    old = [row for (row,) in db.execute("SELECT row FROM chunks WHERE document = ? ORDER BY row", (seq,)).fetchall()]
    db.executemany(
        f"INSERT INTO chunks (row, document, {_CHUNK}, born) SELECT ?, ?, {_CHUNK}, ? FROM chunks WHERE row = ?",  # noqa: S608
        [(new, cursor.lastrowid, generation, row) for new, row in zip(ids, old, strict=True)],
    )


def _labels(db: sqlite3.Connection, seq: int) -> tuple[str, str] | None:
    """The access labels of the document's last version and the version they make; None where nothing differs."""
    name, text, title, metadata, before = db.execute(
        "SELECT id, text, title, metadata, access FROM documents WHERE seq = ?", (seq,)
    ).fetchone()
    (now,) = db.execute("SELECT access FROM documents WHERE id = ? ORDER BY seq DESC LIMIT 1", (name,)).fetchone()
    if now == before:
        return None
    return now, Document(name, text, title, json.loads(metadata), access=tuple(json.loads(now))).version
