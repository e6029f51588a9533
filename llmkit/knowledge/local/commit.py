"""How a change becomes the next generation of a folder."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, replace

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge import access_labels
from llmkit.knowledge.local import spaces
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.folder import Folder
from llmkit.knowledge.local.vectors import segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.store import Change, NewDocument
from llmkit.text.ledger import ledger, totals
from llmkit.types import Block, Document

NEAR_DUPLICATE = "dropped: near duplicate"
"""What became of the characters of one; its original is not named here, so that it can be forgotten."""


def commit(folder: Folder, note: str, change: Change) -> int:
    """Apply a change as the next generation and return its number; only for the one writer."""
    chunks = [chunk for new in change.documents for chunk in new.chunks]
    catalog = folder.write_catalog
    ids = fresh_rows(catalog, len(chunks))
    vectors = change.vectors if len(chunks) else np.empty((0, folder.newest.space.dim), dtype=np.float32)
    with catalog.commit(note) as (generation, db):
        if change.language:
            db.execute("INSERT INTO meta VALUES ('language_found', ?)", (change.language,))
        died = end_lives(db, generation, _live_seqs(db, change.removed), list(change.removed_sources))
        _insert(db, generation, change, ids)
        merged = store_vectors(folder, db, ids, vectors, generation)
    folder.advance(generation, merged, died, ids, vectors, [chunk.indexed_text for chunk in chunks])
    return generation


def fresh_rows(catalog: Catalog, count: int) -> NDArray[np.int64]:
    """Rows that no chunk ever had, ascending, (count,)."""
    last = int(catalog.rows("SELECT coalesce(max(row), 0) FROM chunks")[0][0])
    last = max(last, int(catalog.meta().get("last_row", 0)))  # those of purged chunks are not given again
    return np.arange(last + 1, last + 1 + count, dtype=np.int64)


def store_vectors(
    folder: Folder, db: sqlite3.Connection, ids: NDArray[np.int64], vectors: NDArray[np.float32], generation: int
) -> list[Segment]:
    """Write vectors to disk and name them in the open transaction; returns the files they were merged with."""
    if not len(ids):
        return []
    path, space = folder.path / segments.FOLDER, folder.newest.space
    merged = segments.to_merge(spaces.listed(folder.write_catalog, space), len(ids))
    parts = [segments.read(path, segment, space.dim) for segment in merged]
    all_ids = np.concatenate([*(segment.ids for segment in merged), ids])
    written = segments.write(path, [*parts, vectors], all_ids, generation)
    segments.replace(db, merged, [written])
    return merged


def end_lives(db: sqlite3.Connection, generation: int, documents: list[int], sources: list[str]) -> list[int]:
    """End the life of documents (by seq), their chunks, and sources (by URI); returns the chunk rows."""
    died: list[int] = []
    for seq in documents:
        db.execute("UPDATE documents SET died = ? WHERE seq = ? AND died IS NULL", (generation, seq))
        rows = db.execute("SELECT row FROM chunks WHERE document = ? AND died IS NULL", (seq,)).fetchall()
        died += [row for (row,) in rows]
        db.execute("UPDATE chunks SET died = ? WHERE document = ? AND died IS NULL", (generation, seq))
    db.executemany("UPDATE sources SET died = ? WHERE uri = ? AND died IS NULL", [(generation, uri) for uri in sources])
    return died


def known_vectors(catalog: Catalog, keys: Sequence[bytes], first_row: int) -> dict[tuple[bytes, str], int]:
    """Rows that hold the vector of a key, from `first_row` on, by (key, labels as JSON) and by (key, document's id)."""
    found: dict[tuple[bytes, str], int] = {}
    for at in range(0, len(keys), 500):
        some = keys[at : at + 500]
        marks = ",".join("?" * len(some))
        sql = f"""SELECT c.key, d.access, d.id, c.row FROM chunks c JOIN documents d ON d.seq = c.document
                  WHERE c.key IN ({marks}) AND c.row >= ?"""  # noqa: S608
        for key, readers, name, row in catalog.rows(sql, (*some, first_row)):
            found[key, readers] = found[key, name] = row
    return found


def signatures(catalog: Catalog) -> Iterator[tuple[str, bytes]]:
    """Id and MinHash of every live document that has one."""
    yield from catalog.each(
        "SELECT d.id, s.minhash FROM signatures s JOIN documents d ON d.seq = s.document WHERE d.died IS NULL"
    )


def lost_duplicates(catalog: Catalog, leaving: Iterable[str]) -> list[tuple[str, Document]]:
    """Near duplicates, with source and structure, whose original is gone, or is among the ids that leave now."""
    leaving = list(leaving)
    sql = """SELECT t.document, d.source, t.blocks, d.id FROM duplicates t
             JOIN documents d ON d.seq = t.document AND d.died IS NULL """
    lost = catalog.rows(
        f"""{sql} LEFT JOIN documents o ON o.id = t.original AND o.version = t.version AND o.died IS NULL
            AND o.seq NOT IN (SELECT document FROM duplicates) WHERE o.seq IS NULL"""  # noqa: S608
    )
    for name in leaving:
        lost += catalog.rows(f"{sql} WHERE t.original = ?", (name,))
    found = []
    for seq, source, blocks, name in sorted(set(lost)):
        if name not in leaving:
            (document,) = catalog.documents("seq = ?", (seq,))
            found.append((source, _with_blocks(document, blocks)))
    return found


def _live_seqs(db: sqlite3.Connection, ids: Sequence[str]) -> list[int]:
    found = [db.execute("SELECT seq FROM documents WHERE id = ? AND died IS NULL", (name,)).fetchone() for name in ids]
    return [row[0] for row in found if row is not None]


def _insert(db: sqlite3.Connection, generation: int, change: Change, ids: NDArray[np.int64]) -> None:
    """Write sources, documents and chunks into the open transaction."""
    db.executemany(
        """INSERT INTO sources (uri, root, name, kind, sha256, size, status, reason, access, born)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        [
            (
                one.uri, one.root, one.name, one.kind, one.sha256, one.size, one.status, one.reason,
                access_labels.written(one.access), generation,
            )
            for one in change.sources
        ],
    )  # fmt: skip
    at = 0
    for new in change.documents:
        seq = _insert_document(db, generation, new)
        db.executemany(
            "INSERT INTO chunks VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, NULL)",
            [
                (
                    row, seq, chunk.ordinal, chunk.start, chunk.end, chunk.text, chunk.tokens, chunk.title,
                    json.dumps(chunk.heading, ensure_ascii=False), chunk.page, chunk.part, key, generation,
                )
                for row, chunk, key in zip(ids[at:].tolist(), new.chunks, change.keys[at:], strict=False)
            ],
        )  # fmt: skip
        at += len(new.chunks)


def _insert_document(db: sqlite3.Connection, generation: int, new: NewDocument) -> int:
    document, original = new.document, new.duplicate_of
    fates = {NEAR_DUPLICATE: len(document.text)} if original else totals(ledger(document, new.chunks))
    cursor = db.execute(
        """INSERT INTO documents (id, source, title, text, version, metadata, notes, fates, access, born)
           VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            document.id, new.source, document.title, document.text, document.version,
            json.dumps(document.metadata, ensure_ascii=False), json.dumps(document.notes), json.dumps(fates),
            access_labels.written(document.access), generation,
        ),
    )  # fmt: skip
    seq = int(cursor.lastrowid or 0)
    if original:
        blocks = json.dumps([asdict(block) for block in document.blocks], ensure_ascii=False)
        db.execute(
            "INSERT INTO duplicates VALUES (?, ?, ?, ?, ?)",
            (seq, original.original, original.version, original.similarity, blocks),
        )
    elif new.signature is not None:
        db.execute("INSERT INTO signatures VALUES (?, ?)", (seq, new.signature))
    return seq


def _with_blocks(document: Document, stored: str) -> Document:
    """The document with its structure, so that it can be split as if it had just been read."""
    blocks = (Block(**{**block, "heading": tuple(block["heading"])}) for block in json.loads(stored))
    return replace(document, blocks=tuple(blocks))
