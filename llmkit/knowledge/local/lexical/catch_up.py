"""Bringing the BM25 index to the generation of the catalogue, whatever was killed when."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from itertools import islice

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.lexical.index import LexicalIndex, LexicalSearcher, reached, rebuild_from_nothing
from llmkit.knowledge.local.lock import read_only, writer_lock
from llmkit.knowledge.local.reads import GenerationReads

FOLDER = "lexical"
_SLICE = 500  # chunks read at a time
_PATIENCE = 10.0  # seconds a reader waits for a live writer to bring the index to the last generation
_PURPOSE = "bring the BM25 index up to date"


def open_if_level(view: GenerationReads) -> LexicalSearcher | None:
    """The index on disk where it stands at the view's generation; None where it does not, or cannot be read.

    Waits for nothing and writes nothing.
    """
    if read_only(view.path) or reached(view.path / FOLDER) != view.generation:
        return None
    index = _open(view)
    if index is None or index.generation != view.generation or view.catalog.generation() != view.generation:
        return None  # a catalogue that has moved on may have moved the index
    return index.searcher


def open_searcher(view: GenerationReads) -> LexicalSearcher:
    """The BM25 index at the view's generation.

    A writer commits to the catalogue first and to this index a moment later. An index that is behind is brought up to
    date by whoever gets the writer lock; while a writer lives, the reader waits for it. Where the index on disk is of
    a later generation already, an index of the view's generation is built in memory.

    Raises:
        KnowledgeError: a writer is at work and did not bring the index up to date in time.
    """
    if read_only(view.path):  # tantivy makes a lock file even to read
        view.notes.add("the disk is for reading only: the BM25 index was built in memory")
        return in_memory(view)
    deadline = time.monotonic() + _PATIENCE
    while True:
        if view.catalog.generation() != view.generation:
            return in_memory(view)
        try:
            found = open_if_level(view)
            if found is None:
                with writer_lock(view.path, _PURPOSE):
                    if view.catalog.generation() == view.generation:
                        found = level(view).searcher
            if found is not None and view.catalog.generation() == view.generation:
                return found
        except KnowledgeError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.005)


def level(view: GenerationReads) -> LexicalIndex:
    """The index brought to the view's generation, the last one, whatever became of it; only for the one writer."""
    folder = view.path / FOLDER
    index, new = _open(view), not folder.exists()
    if index is None:
        index = rebuild_from_nothing(folder, view.language)
        if not new:
            view.notes.add("the BM25 index was damaged and has been rebuilt from the catalogue")
    elif index.generation > view.generation:  # the catalogue was put back from an older copy
        index = rebuild_from_nothing(folder, view.language)
        view.notes.add("the BM25 index was ahead of the catalogue and has been rebuilt")
    elif index.generation < int(view.catalog.meta().get("purged", 0)):
        index = rebuild_from_nothing(folder, view.language)  # killed in a purge: it holds rows that are nowhere else
    index = caught_up(view, index)
    index.reload()
    return index


def renewed(view: GenerationReads) -> LexicalSearcher:
    """The index of the view's generation made anew from the catalogue, in place of one that cannot be searched.

    Raises:
        KnowledgeError: a writer is at work.
    """
    if view.catalog.generation() != view.generation or read_only(view.path):
        return in_memory(view)
    with writer_lock(view.path, _PURPOSE):
        if view.catalog.generation() != view.generation:
            return in_memory(view)
        index = rebuild(view)
    view.notes.add("the BM25 index was damaged and has been rebuilt from the catalogue")
    return index.searcher


def rebuild(view: GenerationReads) -> LexicalIndex:
    """An index of the view's generation in place of whatever lies there; only for the one writer."""
    index = rebuild_from_nothing(view.path / FOLDER, view.language)
    catch_up(view, index)
    return index


def in_memory(view: GenerationReads) -> LexicalSearcher:
    """An index of the view's generation in memory, made from the catalogue."""
    index = LexicalIndex(None, view.language)
    index.update(view.generation, (), texts(view, view.live_rows()))
    return index.searcher


def caught_up(view: GenerationReads, index: LexicalIndex) -> LexicalIndex:
    """The index at the view's generation; made anew where it cannot be written. Only for the one writer."""
    try:
        catch_up(view, index)
    except KnowledgeError:
        index = rebuild(view)
        view.notes.add("the BM25 index could not be written and has been rebuilt from the catalogue")
    return index


def catch_up(view: GenerationReads, index: LexicalIndex) -> None:
    """Apply what the catalogue has and the index has not, up to the view's generation; only for the one writer."""
    start, end = index.generation, view.generation
    if start == end:
        return
    # an index without a mark may hold anything
    died = view.catalog.each(
        "SELECT row FROM chunks WHERE died > ? AND died <= ? AND (born <= ? OR ? = 0)", (start, end, start, start)
    )
    born = view.catalog.each(
        "SELECT row FROM chunks WHERE born > ? AND born <= ? AND (died IS NULL OR died > ?) ORDER BY row",
        (start, end, end),
    )
    index.update(end, (row for (row,) in died), texts(view, (row for (row,) in born)))


def texts(view: GenerationReads, rows: Iterable[int]) -> Iterator[tuple[int, str]]:
    """Row and indexed text of each chunk; read some hundreds at a time."""
    left = iter(rows)
    while some := [int(row) for row in islice(left, _SLICE)]:
        yield from zip(some, (chunk.indexed_text for chunk in view.catalog.chunks(some)), strict=True)


def _open(view: GenerationReads) -> LexicalIndex | None:
    """The index as it lies there; None where it is not there, damaged, or being made anew."""
    folder = view.path / FOLDER
    try:
        return LexicalIndex(folder, view.language) if (folder / "meta.json").exists() else None
    except KnowledgeError:
        return None
