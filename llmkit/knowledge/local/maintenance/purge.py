"""Compaction of old generations, and erasure of documents from every generation."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local import generations, spaces
from llmkit.knowledge.local.catalog import Catalog
from llmkit.knowledge.local.commit import end_lives
from llmkit.knowledge.local.folder import Folder
from llmkit.knowledge.local.lexical import catch_up
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.store import Erased
from llmkit.knowledge.verbatim_search import no_such_document


def compact(folder: Folder, keep: int) -> Erased:
    """Drop what only generations older than the last `keep` can show, and give the space back.

    Raises:
        KnowledgeError: another process is writing.
    """
    if keep < 1:
        raise KnowledgeError(f"a compaction keeps at least the last generation, not {keep}")
    before = _size(folder)
    with folder.exclusive("compact"):
        first = max(generations.oldest(folder.catalog), folder.head() - keep + 1)
        gone = folder.catalog.rows("SELECT seq FROM documents WHERE died IS NOT NULL AND died <= ?", (first,))
        rows = _purge(folder, [seq for (seq,) in gone], f"compact, keeping {keep} generations", oldest=first)
        folder.reopen(lexical=catch_up.rebuild(folder.newest))
        _shrink(folder)
    return Erased(len(gone), len(rows), before - _size(folder))


def erase(folder: Folder, ids: Sequence[str], before: Callable[[Sequence[str]], None]) -> Erased:
    """Take documents out of every generation: text, vectors, terms, names. No byte search of the folder finds them.

    Older names of the same text are forgotten with it.

    Args:
        folder: of the knowledge base.
        ids: of documents.
        before: called with every id once it is sure that they can be forgotten, and before they are: nobody knows
            afterwards what quotes them. Where it fails nothing is forgotten.

    Raises:
        KnowledgeError: a document that is in no generation, or another process holds on to old pages.
    """
    size = _size(folder)
    with folder.exclusive("forget"):
        for name in ids:
            if not folder.catalog.rows("SELECT 1 FROM documents WHERE id = ? LIMIT 1", (name,)):
                raise no_such_document(folder.location, name, similar_id(folder.catalog, name))
        namesakes, copies = _same_text(folder, ids)
        every = [*ids, *namesakes]
        before(every)
        found: list[int] = []
        names: list[str] = []
        for name in every:
            versions = folder.catalog.rows("SELECT seq, source FROM documents WHERE id = ?", (name,))
            found += [seq for seq, _ in versions]
            names += [name, *(source for _, source in versions)]
        rows = _purge(folder, found, f"forget {len(ids)} documents", names=names)
        folder.reopen(lexical=catch_up.rebuild(folder.newest))
        _shrink(folder)
    return Erased(len(found), len(rows), size - _size(folder), namesakes, copies)


def _same_text(folder: Folder, ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Other ids with a text of these documents: those that are in use no more, and those that are."""
    marks = ",".join("?" * len(ids))
    found = folder.catalog.rows(
        f"""SELECT o.id, max(o.died IS NULL) FROM documents o WHERE o.id NOT IN ({marks})
            AND o.id IN (SELECT id FROM documents WHERE text IN (SELECT text FROM documents WHERE id IN ({marks})))
            GROUP BY o.id ORDER BY o.id""",  # noqa: S608
        (*ids, *ids),
    )
    return tuple(name for name, live in found if not live), tuple(name for name, live in found if live)


def _purge(
    folder: Folder, seqs: Sequence[int], note: str, *, oldest: int | None = None, names: Sequence[str] = ()
) -> NDArray[np.int64]:
    """Delete documents and their chunks in one commit, their vectors with them; returns the rows of the chunks."""
    rows = np.sort(
        np.array(
            [r for seq in seqs for (r,) in folder.catalog.rows("SELECT row FROM chunks WHERE document = ?", (seq,))],
            dtype=np.int64,
        )
    )
    catalog = folder.write_catalog
    touched = [segment for segment in segments.listed(catalog) if np.isin(segment.ids, rows).any()]
    catalog.rows("PRAGMA secure_delete = ON")
    with catalog.commit(note) as (generation, db):
        end_lives(db, generation, list(seqs), [])
        last = db.execute("SELECT coalesce(max(row), 0) FROM chunks").fetchone()[0]
        _keep_greater(db, "last_row", last)
        _keep_greater(db, "purged", generation)  # a BM25 index behind this one holds rows that nobody can name
        db.executemany("DELETE FROM chunks WHERE document = ?", [(seq,) for seq in seqs])
        db.executemany("DELETE FROM documents WHERE seq = ?", [(seq,) for seq in seqs])
        for name in names:
            _erase_name(db, name)
        if oldest is not None:
            _keep_greater(db, "oldest", oldest)
            db.execute("DELETE FROM sources WHERE died IS NOT NULL AND died <= ?", (oldest,))
        segments.replace(db, touched, [kept for one in touched if (kept := _without(folder, one, rows, generation))])
        if touched:  # codes of what is gone are in it; the writer makes it anew before it ends
            index_file.replace(db, None)
    segments.unlink(folder.path / segments.FOLDER, touched)
    index_file.drop_unlisted(folder.path / index_file.FOLDER, folder.catalog)
    folder.lexical.update(generation, rows.tolist(), ())
    folder.reopen()
    return rows


def similar_id(catalog: Catalog, name: str) -> str | None:
    """The id of some document of any generation that ends with ``/name``."""
    end = f"/{name}"
    near = catalog.rows("SELECT id FROM documents WHERE substr(id, -length(?)) = ? LIMIT 1", (end, end))
    return str(near[0][0]) if near else None


def _without(folder: Folder, segment: Segment, rows: NDArray[np.int64], generation: int) -> Segment | None:
    """The segment written anew without these rows; None where nothing is left."""
    kept = ~np.isin(segment.ids, rows)
    if not kept.any():
        return None
    path = folder.path / segments.FOLDER
    dim = spaces.of_segment(spaces.every(folder.write_catalog), segment).dim
    return segments.write(path, segments.kept(path, segment, dim, kept), segment.ids[kept], generation)


def _erase_name(db: sqlite3.Connection, name: str) -> None:
    """Take a document's id or source out of what is written about files, near duplicates and generations."""
    db.execute("UPDATE duplicates SET original = '', version = '' WHERE original = ?", (name,))
    left = db.execute("SELECT count(*) FROM documents WHERE source = ? OR id = ?", (name, name)).fetchone()[0]
    if left:  # a file of several documents is still the source of others
        db.execute("UPDATE sources SET status = 'partial' WHERE uri = ? AND died IS NULL", (name,))
        return
    db.execute("DELETE FROM sources WHERE uri = ? OR name = ?", (name, name))
    db.execute("DELETE FROM meta WHERE key = 'access:' || ?", (name,))
    short = name.rpartition("/")[2]
    db.execute("UPDATE generations SET note = '(forgotten)' WHERE instr(note, ?) > 0", (short,))


def _keep_greater(db: sqlite3.Connection, key: str, value: int) -> None:
    known = db.execute("SELECT value FROM meta WHERE key = ?", (key,)).fetchone()
    db.execute("INSERT OR REPLACE INTO meta VALUES (?, ?)", (key, str(max(value, int(known[0]) if known else 0))))


def _shrink(folder: Folder) -> None:
    """Give the catalogue's free pages back, and empty its log, where old pages would be found.

    Raises:
        KnowledgeError: a reader still needs them.
    """
    folder.write_catalog.rows("VACUUM")
    busy = folder.write_catalog.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
    if busy:
        raise KnowledgeError(
            f"another process reads {folder.path} and holds on to old pages: what was asked is done for every reader "
            "to come, but the pages are still in catalog.sqlite-wal. Close it and run the command again"
        )


def _size(folder: Folder) -> int:
    return sum(path.stat().st_size for path in folder.path.rglob("*") if path.is_file())
