"""Letting go for good: generations nobody needs, and documents that must not be found again."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge import embedding_spaces, generations
from llmkit.knowledge.ingestion.writer import Writer, bury
from llmkit.knowledge.local.lexical.catch_up import catch_up
from llmkit.knowledge.local.lexical.index import rebuild_from_nothing
from llmkit.knowledge.local.lock import writer_lock
from llmkit.knowledge.local.vectors import index_file, segments
from llmkit.knowledge.local.vectors.segments import Segment
from llmkit.knowledge.verbatim_search import not_here

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase


@dataclass(frozen=True, slots=True)
class Purged:
    """What is gone."""

    documents: int
    """Versions of documents."""
    chunks: int
    bytes: int
    """By how much the folder has shrunk."""
    namesakes: tuple[str, ...] = ()
    """Older names, in use no more, of the same text: forgotten with it."""
    copies: tuple[str, ...] = ()
    """Documents that hold the same text under another name and stay."""


def compact(kb: KnowledgeBase, keep: int = 1) -> Purged:
    """Drop what only generations older than the last `keep` can show, and give the space back.

    Raises:
        KnowledgeError: another process is writing.
    """
    kb.check_writable()
    if keep < 1:
        raise KnowledgeError(f"a compaction keeps at least the last generation, not {keep}")
    before = _size(kb)
    with writer_lock(kb.path, "compact"), Writer(kb, "compact"):
        first = max(generations.oldest(kb.catalog), kb.catalog.generation() - keep + 1)
        gone = kb.catalog.rows("SELECT seq FROM documents WHERE died IS NOT NULL AND died <= ?", (first,))
        rows = _purge(kb, [seq for (seq,) in gone], f"compact, keeping {keep} generations", oldest=first)
        _words_anew(kb)
        _shrink(kb)
    return Purged(len(gone), len(rows), before - _size(kb))


def forget(
    kb: KnowledgeBase, ids: Sequence[str], *, before: Callable[[Sequence[str]], None] = lambda _: None
) -> Purged:
    """Take documents out of every generation: text, vectors, words, names. No byte search of the folder finds them.

    What the same text was called before it was renamed is forgotten with it. A file that is still in a folder comes
    back with the next ingest of that folder. Evaluations that were shown the documents lie elsewhere:
    :func:`llmkit.evaluation.runs.erase.forget_in_runs` erases those.

    Args:
        kb: open at its last generation.
        ids: of documents.
        before: called with every id once it is sure that they can be forgotten, and before they are: nobody knows
            afterwards what quotes them. Where it fails nothing is forgotten.

    Raises:
        KnowledgeError: a document that is in no generation, or another process holds on to old pages.
    """
    kb.check_writable()
    size = _size(kb)
    with writer_lock(kb.path, "forget"), Writer(kb, "forget"):
        for name in ids:
            if not kb.catalog.rows("SELECT 1 FROM documents WHERE id = ? LIMIT 1", (name,)):
                raise not_here(kb, name)
        namesakes, copies = _same_text(kb, ids)
        every = [*ids, *namesakes]
        before(every)
        found: list[int] = []
        names: list[str] = []
        for name in every:
            versions = kb.catalog.rows("SELECT seq, source FROM documents WHERE id = ?", (name,))
            found += [seq for seq, _ in versions]
            names += [name, *(source for _, source in versions)]
        rows = _purge(kb, found, f"forget {len(ids)} documents", names=names)
        _words_anew(kb)
        _shrink(kb)
    return Purged(len(found), len(rows), size - _size(kb), namesakes, copies)


def _same_text(kb: KnowledgeBase, ids: Sequence[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Other ids with a text of these documents: those that are in use no more, and those that are."""
    marks = ",".join("?" * len(ids))
    found = kb.catalog.rows(
        f"""SELECT o.id, max(o.died IS NULL) FROM documents o WHERE o.id NOT IN ({marks})
            AND o.id IN (SELECT id FROM documents WHERE text IN (SELECT text FROM documents WHERE id IN ({marks})))
            GROUP BY o.id ORDER BY o.id""",  # noqa: S608
        (*ids, *ids),
    )
    return tuple(name for name, live in found if not live), tuple(name for name, live in found if live)


def _purge(
    kb: KnowledgeBase, seqs: Sequence[int], note: str, *, oldest: int | None = None, names: Sequence[str] = ()
) -> NDArray[np.int64]:
    """Delete documents and their chunks in one commit, their vectors with them; returns the rows of the chunks."""
    rows = np.sort(
        np.array(
            [r for seq in seqs for (r,) in kb.catalog.rows("SELECT row FROM chunks WHERE document = ?", (seq,))],
            dtype=np.int64,
        )
    )
    touched = [segment for segment in segments.listed(kb.catalog) if np.isin(segment.ids, rows).any()]
    kb.catalog.rows("PRAGMA secure_delete = ON")
    with kb.catalog.commit(note) as (generation, db):
        bury(db, generation, list(seqs), [])
        last = db.execute("SELECT coalesce(max(row), 0) FROM chunks").fetchone()[0]
        _keep_greater(db, "last_row", last)
        _keep_greater(db, "purged", generation)  # an index of words behind this one knows rows nobody can name
        db.executemany("DELETE FROM chunks WHERE document = ?", [(seq,) for seq in seqs])
        db.executemany("DELETE FROM documents WHERE seq = ?", [(seq,) for seq in seqs])
        for name in names:
            _erase_name(db, name)
        if oldest is not None:
            _keep_greater(db, "oldest", oldest)
            db.execute("DELETE FROM sources WHERE died IS NOT NULL AND died <= ?", (oldest,))
        segments.replace(db, touched, [made for one in touched if (made := _without(kb, one, rows, generation))])
        if touched:  # codes of what is gone are in it; the writer makes it anew before it ends
            index_file.replace(db, None)
    kb.generation = generation
    segments.unlink(kb.path / "vectors", touched)
    index_file.drop_unlisted(kb.path / index_file.FOLDER, kb.catalog)
    kb.__dict__.pop("index", None)
    kb.lexical.update(generation, rows.tolist(), ())
    return rows


def _words_anew(kb: KnowledgeBase) -> None:
    """The lexical index from the text: an old one still counts words of what is gone, and holds them in its files."""
    kb.__dict__["lexical"] = index = rebuild_from_nothing(kb.path / "lexical", kb.language)
    catch_up(kb, index)


def _without(kb: KnowledgeBase, segment: Segment, rows: NDArray[np.int64], generation: int) -> Segment | None:
    """The segment written anew without these rows; None where nothing is left."""
    kept = ~np.isin(segment.ids, rows)
    if not kept.any():
        return None
    folder = kb.path / "vectors"
    dim = embedding_spaces.of_segment(embedding_spaces.every(kb.catalog), segment).dim
    return segments.write(folder, segments.kept(folder, segment, dim, kept), segment.ids[kept], generation)


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


def _shrink(kb: KnowledgeBase) -> None:
    """Give the catalogue's free pages back, and empty its log, where old pages would be found.

    Raises:
        KnowledgeError: a reader still needs them.
    """
    kb.catalog.rows("VACUUM")
    busy = kb.catalog.rows("PRAGMA wal_checkpoint(TRUNCATE)")[0][0]
    if busy:
        raise KnowledgeError(
            f"another process reads {kb.path} and holds on to old pages: what was asked is done for every reader to "
            "come, but the pages are still in catalog.sqlite-wal. Close it and run the command again"
        )


def _size(kb: KnowledgeBase) -> int:
    return sum(path.stat().st_size for path in kb.path.rglob("*") if path.is_file())
