"""BM25 indexes for readers with access labels, one for each set of passages that some reader may see.

BM25 weighs a word by how many passages of the index contain it, and tantivy counts deleted passages too. A reader who
may not see everything therefore gets an index of exactly the passages that this reader may see. It lies in
``lexical/views/NAME``; NAME is the digest of the rows. A row number is never used twice and its text never changes, so
an index of that name is either right or absent. Such an index is built in one pass and never updated. It serves every
generation, and every reader, with the same visible passages.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.lexical.catch_up import FOLDER, texts
from llmkit.knowledge.local.lexical.index import LexicalIndex, LexicalSearcher
from llmkit.knowledge.local.reads import GenerationReads

MAX_INDEXES = 8  # indexes that are kept; the one not used for the longest time goes first
_HEAP = 256 << 20  # so that an index of a million passages is not merged in the background, in an order of the moment
_STALE = 3600.0  # seconds after which an unfinished index is nobody's


def view_name(rows: NDArray[np.int64], language: str) -> str:
    """Name of the index of these rows, ascending, with words of that language."""
    return hashlib.sha256(language.encode() + rows.astype("<i8").tobytes()).hexdigest()[:24]


def open_reader_index(view: GenerationReads, rows: NDArray[np.int64], *, anew: bool = False) -> LexicalSearcher:
    """The index of exactly these rows, made if it is not there; in memory where the folder cannot be written.

    Args:
        view: the generation as the reader sees it.
        rows: ascending.
        anew: even if it is there.
    """
    folder = view.path / FOLDER / "views"
    path = folder / view_name(rows, view.language)
    if anew:
        shutil.rmtree(path, ignore_errors=True)
    if path.is_dir():
        try:
            index = LexicalIndex(path, view.language)
            if np.array_equal(index.rows(), rows):
                os.utime(path)
                return index.searcher
        except (KnowledgeError, OSError, ValueError):
            pass
        shutil.rmtree(path, ignore_errors=True)
    try:
        return _build(view, rows, path).searcher
    except (KnowledgeError, OSError, ValueError):  # read-only, full, or cleared by a purge at this moment
        index = LexicalIndex(None, view.language)
        index.update(view.generation, (), texts(view, rows), heap=_HEAP)
        return index.searcher


def broken_views(folder: Path, language: str) -> list[str]:
    """Names of the indexes below `folder` that are not what their name says."""
    broken = []
    for path in sorted(folder.glob("[0-9a-f]*")):
        try:
            index = LexicalIndex(path, language)
            index.search(["a the"], 1)
            whole = view_name(index.rows(), language) == path.name
        except Exception:  # whatever tantivy says of a file it cannot read
            whole = False
        if not whole:
            broken.append(path.name)
    return broken


def _build(view: GenerationReads, rows: NDArray[np.int64], path: Path) -> LexicalIndex:
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
    try:
        LexicalIndex(scratch, view.language).update(view.generation, (), texts(view, rows), heap=_HEAP)
        try:
            scratch.rename(path)
        except OSError:  # another reader was first
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if len(view.live_rows()) != len(rows):  # purged meanwhile: its words must not stay on disk
        shutil.rmtree(path, ignore_errors=True)
        raise KnowledgeError(f"{view.path} was purged while its BM25 index was built: open it again")
    _prune(folder)
    return LexicalIndex(path, view.language)


def _prune(folder: Path) -> None:
    """Delete the indexes beyond those that are kept, and what a killed reader left."""
    whole = sorted(folder.glob("[0-9a-f]*"), key=_used, reverse=True)
    left = [path for path in folder.glob(".making-*") if time.time() - _used(path) > _STALE]
    for path in (*whole[MAX_INDEXES:], *left):
        shutil.rmtree(path, ignore_errors=True)


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
