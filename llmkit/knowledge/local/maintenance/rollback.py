"""Going back: a new generation that holds what an older one held. Nothing in between is lost."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from llmkit.knowledge import embedding_spaces, generations
from llmkit.knowledge.ingestion.writer import Writer, bury, follow, fresh_rows, store_vectors
from llmkit.knowledge.local.lexical.catch_up import open_level
from llmkit.knowledge.local.lock import writer_lock
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.types import Document

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

_DOCUMENT = "id, source, title, text, version, metadata, notes, fates, access"
_CHUNK = "ordinal, start, end, text, tokens, title, heading, page, part, key"
_SOURCE = "uri, root, name, kind, sha256, size, status, reason, access"


def rollback(kb: KnowledgeBase, to: int | str) -> generations.Diff:
    """Make the knowledge base hold what it held at an older generation or date; nothing is encoded.

    Returns:
        What came, went and changed; empty where nothing had to.

    Raises:
        KnowledgeError: no such generation, it was compacted, or another process is writing.
    """
    kb.check_writable()
    with writer_lock(kb.path, "rollback"), Writer(kb, "rollback"):
        target = generations.resolve(kb.catalog, to)
        found = generations.diff(kb, kb.generation, target)
        space = embedding_spaces.at(kb.catalog, target)
        if space.identity != kb.identity:
            was = kb.identity
            _over_an_adoption(kb, target, space)
            kb.notes.append(f"the encoder is {space.identity} again; it was {was}")
            return found
        if found == generations.Diff((), (), ()):
            return found
        now, then = generations.live(kb.catalog, kb.generation), generations.live(kb.catalog, target)
        dead = [now[name][0] for name in (*found.removed, *found.changed)]
        back = [then[name][0] for name in (*found.added, *found.changed)]
        old = [row for seq in back for row in rows_of(kb, seq)]
        ids, vectors = fresh_rows(kb, len(old)), kb.vectors(old)
        with kb.catalog.commit(f"rollback to generation {target}") as (generation, db):
            died = bury(db, generation, dead, [])
            _sources_back(db, generation, target)
            new = iter(ids.tolist())
            for seq in back:
                copy_document(db, seq, generation, [next(new) for _ in rows_of(kb, seq)])
            merged = store_vectors(kb, db, ids, vectors, generation)
        texts = [chunk.indexed_text for chunk in kb.chunks(ids)]
        follow(kb, generation, merged, died, ids, np.asarray(vectors), texts)
    return found


def _over_an_adoption(kb: KnowledgeBase, target: int, space: embedding_spaces.Space) -> None:
    """Everything comes back with the vectors it had, and the encoder with it."""
    now, then = generations.live(kb.catalog, kb.generation), generations.live(kb.catalog, target)
    back = [seq for seq, _ in then.values()]
    old = [row for seq in back for row in rows_of(kb, seq)]
    with type(kb).open(kb.path, as_of=target) as past:
        ids, vectors = fresh_rows(kb, len(old)), past.vectors(old)
    with kb.catalog.commit(f"rollback to generation {target}") as (generation, db):
        bury(db, generation, [seq for seq, _ in now.values()], [])
        _sources_back(db, generation, target)
        new = iter(ids.tolist())
        for seq in back:
            copy_document(db, seq, generation, [next(new) for _ in rows_of(kb, seq)])
        begins = int(fresh_rows(kb, 1)[0]) if not len(ids) else int(ids[0])
        embedding_spaces.record(db, replace(space, born=generation, first_row=begins))
        index_file.replace(db, None)  # it covers rows of the other encoder; a new one is made when it is due
        if len(ids):
            segments.replace(db, [], [segments.write(kb.path / "vectors", [vectors], ids, generation)])
    embedding_spaces.moved(kb, generation, None)
    kb.__dict__["lexical"] = open_level(kb, writing=True)


def _sources_back(db: sqlite3.Connection, generation: int, target: int) -> None:
    db.execute("UPDATE sources SET died = ? WHERE died IS NULL AND born > ?", (generation, target))
    db.execute(  # column names are ours
        f"""INSERT INTO sources ({_SOURCE}, born) SELECT {_SOURCE}, ? FROM sources
            WHERE born <= ? AND died > ? AND uri NOT IN (SELECT uri FROM sources WHERE died IS NULL)""",  # noqa: S608
        (generation, target, target),
    )


def rows_of(kb: KnowledgeBase, seq: int) -> list[int]:
    """Rows of a document's chunks, in order."""
    return [row for (row,) in kb.catalog.rows("SELECT row FROM chunks WHERE document = ? ORDER BY row", (seq,))]


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
