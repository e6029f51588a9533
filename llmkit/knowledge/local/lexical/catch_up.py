"""Keeping the lexical index level with the catalogue, whatever was killed when."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from contextlib import nullcontext
from itertools import islice
from typing import TYPE_CHECKING

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.lexical.index import LexicalIndex, rebuild_from_nothing
from llmkit.knowledge.local.lock import read_only, writer_lock

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

_SLICE = 500  # chunks read at a time
_PATIENCE = 10.0  # seconds a reader waits for a live writer to bring the index level


def open_level(kb: KnowledgeBase, *, writing: bool = False) -> LexicalIndex:
    """The lexical index at the generation that `kb` shows.

    A writer commits to the catalogue first and to this index a moment later. Found behind, it is caught up by whoever
    gets the writer lock; while a writer lives, it is waited for.

    Args:
        kb: its generation is the one to reach; it may move on meanwhile.
        writing: the caller holds the writer lock.

    Raises:
        KnowledgeError: a writer is at work and did not bring it level in time.
    """
    if read_only(kb.path):  # tantivy makes a lock file even to read
        kb.notes.append("the disk is for reading only: the lexical index was built in memory")
        return open_past(kb)
    deadline = time.monotonic() + _PATIENCE
    while True:
        try:
            index = _open(kb)
            if index is None or index.generation != kb.generation:
                with nullcontext() if writing else writer_lock(kb.path, "bring the words level"):
                    index = _reach(kb)
            if index.generation == kb.generation == kb.catalog.generation():
                return index  # a catalogue that has moved on may have moved the words
        except KnowledgeError:
            if time.monotonic() > deadline:
                raise
        time.sleep(0.005)
        kb.refresh_generation()


def _open(kb: KnowledgeBase) -> LexicalIndex | None:
    """The index as it lies there; None where it is not there, damaged, or being made anew."""
    folder = kb.path / "lexical"
    try:
        return LexicalIndex(folder, kb.language) if (folder / "meta.json").exists() else None
    except KnowledgeError:
        return None


def _reach(kb: KnowledgeBase) -> LexicalIndex:
    """The index brought to the last generation, whatever became of it; only for the one writer."""
    folder = kb.path / "lexical"
    kb.refresh_generation()
    index, new = _open(kb), not folder.exists()
    if index is None:
        index = rebuild_from_nothing(folder, kb.language)
        if not new:
            kb.notes.append("the lexical index was damaged and has been rebuilt from the catalogue")
    elif index.generation > kb.generation:  # the catalogue was put back from an older copy
        index = rebuild_from_nothing(folder, kb.language)
        kb.notes.append("the lexical index was ahead of the catalogue and has been rebuilt")
    elif index.generation < int(kb.catalog.meta().get("purged", 0)):
        index = rebuild_from_nothing(folder, kb.language)  # killed in a purge: it holds rows that are nowhere else
    index = caught_up(kb, index)
    index.reload()
    return index


def renewed(kb: KnowledgeBase) -> LexicalIndex:
    """The lexical index made anew from the catalogue, in place of one that cannot be searched.

    Raises:
        KnowledgeError: a writer is at work.
    """
    if kb.as_of is not None:
        return open_past(kb)
    with writer_lock(kb.path, "bring the words level"):
        kb.refresh_generation()
        index = rebuild_from_nothing(kb.path / "lexical", kb.language)
        catch_up(kb, index)
    kb.notes.append("the lexical index was damaged and has been rebuilt from the catalogue")
    return index


def open_past(kb: KnowledgeBase) -> LexicalIndex:
    """An index in memory of the older generation that `kb` shows, made from the catalogue."""
    index = LexicalIndex(None, kb.language)
    rows = kb.catalog.live_rows(kb.generation)
    index.update(kb.generation, (), texts(kb, rows))
    return index


def caught_up(kb: KnowledgeBase, index: LexicalIndex) -> LexicalIndex:
    """The index at the generation of `kb`; made anew where it cannot be written. Only for the one writer."""
    try:
        catch_up(kb, index)
    except KnowledgeError:
        index = rebuild_from_nothing(kb.path / "lexical", kb.language)
        kb.notes.append("the lexical index could not be written and has been rebuilt from the catalogue")
        catch_up(kb, index)
    return index


def catch_up(kb: KnowledgeBase, index: LexicalIndex) -> None:
    """Bring the index to the generation of `kb` from the catalogue; only for the one writer."""
    reached, now = index.generation, kb.generation
    if reached == now:
        return
    # an index without a mark may hold anything
    died = kb.catalog.each(
        "SELECT row FROM chunks WHERE died > ? AND died <= ? AND (born <= ? OR ? = 0)", (reached, now, reached, reached)
    )
    born = kb.catalog.each(
        "SELECT row FROM chunks WHERE born > ? AND born <= ? AND (died IS NULL OR died > ?) ORDER BY row",
        (reached, now, now),
    )
    index.update(now, (row for (row,) in died), texts(kb, (row for (row,) in born)))


def texts(kb: KnowledgeBase, rows: Iterable[int]) -> Iterator[tuple[int, str]]:
    """What is indexed of each row, some hundreds at a time."""
    left = iter(rows)
    while some := [int(row) for row in islice(left, _SLICE)]:
        yield from zip(some, (chunk.indexed_text for chunk in kb.chunks(some)), strict=True)
