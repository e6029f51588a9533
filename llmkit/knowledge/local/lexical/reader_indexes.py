"""Lexical indexes of what some readers may see, one for each set of passages that occurs.

BM25 weighs words by how many passages of an index have them, and a tantivy index counts deleted ones too. So a reader
who may not see everything has an index of exactly the passages that are visible: ``lexical/views/NAME``, NAME being the
digest of their rows. Rows are never given twice and their text never changes, so an index of that name is right or is
not there; it is made in one pass and never updated. Which generation is shown does not matter, nor does a commit that
changes nothing this reader can see.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.lexical.catch_up import texts
from llmkit.knowledge.local.lexical.index import LexicalIndex

if TYPE_CHECKING:
    from llmkit.knowledge.knowledge_base import KnowledgeBase

MOST = 8  # indexes that are kept; the one not used for the longest time goes first
_HEAP = 256 << 20  # so that an index of a million passages is not merged in the background, in an order of the moment
_STALE = 3600.0  # seconds after which an unfinished index is nobody's


def view_name(rows: NDArray[np.int64], language: str) -> str:
    """Name of the index of these rows, ascending, with words of that language."""
    return hashlib.sha256(language.encode() + rows.astype("<i8").tobytes()).hexdigest()[:24]


def open_view(kb: KnowledgeBase, rows: NDArray[np.int64], *, anew: bool = False) -> LexicalIndex:
    """The index of exactly these rows, made if it is not there; in memory where the folder cannot be written.

    Args:
        kb: shows these rows.
        rows: ascending.
        anew: even if it is there.
    """
    folder = kb.path / "lexical" / "views"
    path = folder / view_name(rows, kb.language)
    if anew:
        shutil.rmtree(path, ignore_errors=True)
    if path.is_dir():
        try:
            index = LexicalIndex(path, kb.language)
            if np.array_equal(index.rows(), rows):
                os.utime(path)
                return index
        except (KnowledgeError, OSError, ValueError):
            pass
        shutil.rmtree(path, ignore_errors=True)
    try:
        return _made(kb, rows, path)
    except (KnowledgeError, OSError, ValueError):  # read-only, full, or cleared by a purge at this moment
        index = LexicalIndex(None, kb.language)
        index.update(kb.generation, (), texts(kb, rows), heap=_HEAP)
        return index


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


def _made(kb: KnowledgeBase, rows: NDArray[np.int64], path: Path) -> LexicalIndex:
    folder = path.parent
    folder.mkdir(parents=True, exist_ok=True)
    scratch = Path(tempfile.mkdtemp(prefix=".making-", dir=folder))
    try:
        LexicalIndex(scratch, kb.language).update(kb.generation, (), texts(kb, rows), heap=_HEAP)
        try:
            scratch.rename(path)
        except OSError:  # another reader was first
            if not path.is_dir():
                raise
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    if len(kb.catalog.live_rows(kb.generation)) != len(rows):  # purged meanwhile: its words must not stay on disk
        shutil.rmtree(path, ignore_errors=True)
        raise KnowledgeError(f"{kb.path} was purged while its words were read: open it again")
    _prune(folder)
    return LexicalIndex(path, kb.language)


def _prune(folder: Path) -> None:
    """Delete the indexes beyond those that are kept, and what a killed reader left."""
    whole = sorted(folder.glob("[0-9a-f]*"), key=_used, reverse=True)
    left = [path for path in folder.glob(".making-*") if time.time() - _used(path) > _STALE]
    for path in (*whole[MOST:], *left):
        shutil.rmtree(path, ignore_errors=True)


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0
