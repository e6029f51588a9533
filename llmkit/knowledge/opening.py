"""The vectors of a generation, from the files that the catalogue names."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

import numpy as np

from llmkit.errors import KnowledgeError
from llmkit.knowledge import segments, spaces
from llmkit.knowledge.vectors import FlatIndex

if TYPE_CHECKING:
    from llmkit.knowledge.base import KnowledgeBase


def open_vectors(kb: KnowledgeBase) -> FlatIndex:
    """Vectors of the generation that `kb` shows.

    Raises:
        KnowledgeError: a vector file is missing or damaged.
    """
    for _ in range(5):
        try:
            return _load(kb)
        except FileNotFoundError as error:  # merged away by a writer between our two looks
            missing = error
            time.sleep(0.05)
    raise KnowledgeError(f"the vector file {missing.filename} is missing: {segments.RECOVER}")


def _load(kb: KnowledgeBase) -> FlatIndex:
    index = FlatIndex(kb.dim)
    newest = kb.catalog.rows("SELECT row FROM chunks WHERE born <= ? ORDER BY row DESC LIMIT 1", (kb.generation,))
    last = newest[0][0] if newest else 0
    for segment in spaces.within(segments.listed(kb.catalog), spaces.every(kb.catalog), kb.space):
        vectors = segments.read(kb.path / "vectors", segment, kb.dim)
        shown = int(np.searchsorted(segment.ids, last, side="right"))
        index.add(segment.ids[:shown], vectors[:shown])
    dead = kb.catalog.rows("SELECT row FROM chunks WHERE died IS NOT NULL AND died <= ?", (kb.generation,))
    index.remove(np.fromiter((row for (row,) in dead), dtype=np.int64, count=len(dead)))
    return index
