"""Rows of (id, float32 vector) where they lie, and exact scores of them.

Scores are computed by one loop over each row's own numbers, in the same order whatever is stored around it, so that an
answer does not depend, not even in its last digit, on rows that it does not name.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.vectors.bitmap import Bitmap
from llmkit.knowledge.local.vectors.id_ranges import Runs

_BLOCK = 16384  # rows scored at once
_QUERIES = 256  # queries scored at once
_NOISE = 1e-4  # more than a matrix product in single precision can be off


class StoredRows:
    """Vectors by position, which may be memory-mapped files; their ids; which of them live."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.runs = Runs()
        self.live = Bitmap()
        self._parts: list[NDArray[np.float32]] = []
        self._firsts: list[int] = []
        """Position of the first row of each part."""
        self._mask: tuple[NDArray[np.int64], Bitmap] | None = None

    def append(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows: ids (n,) ascending and larger than those before, vectors (n, dim).

        Raises:
            KnowledgeError: shapes that do not match, or ids out of order.
        """
        if vectors.shape != (len(ids), self.dim):
            raise KnowledgeError(f"{len(ids)} ids came with vectors of shape {vectors.shape}, expected {self.dim} wide")
        if len(ids) == 0:
            return
        first = self.runs.size
        self.runs.append(ids)
        self._firsts.append(first)
        self._parts.append(vectors)
        self.live.extend(len(ids))
        self._mask = None

    def bury(self, ids: NDArray[np.int64]) -> None:
        """Leave rows out of every later search; unknown ids are ignored."""
        position, known = self.runs.positions(ids)
        self.live.clear(position[known])
        self._mask = None

    def without(self, ids: NDArray[np.int64]) -> StoredRows:
        """The same rows with these left out of every search; vectors and ids are shared, the bitmap is a copy."""
        made = StoredRows(self.dim)
        made.runs, made._parts, made._firsts, made.live = self.runs, self._parts, self._firsts, self.live.copy()
        made.bury(ids)
        return made

    def arrays(self) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
        """Ids and vectors of every row, those that are left out included, in the order they were added."""
        ids = self.runs.ids()
        return [(ids[at : at + len(part)], part) for at, part in zip(self._firsts, self._parts, strict=True)]

    def allowed(self, ids: NDArray[np.int64] | None) -> NDArray[np.int64]:
        """Positions of the rows that live, and are among `ids` where those are given."""
        if ids is None:
            return self.live.positions()
        position, known = self.runs.positions(ids)
        position = position[known]
        return position[self.live.test(position)]

    def mask(self, ids: NDArray[np.int64] | None) -> Bitmap:
        """The same as a bitmap; kept for the next search with the same array."""
        if ids is None:
            return self.live
        kept = self._mask  # read once: another thread may replace it
        if kept is None or kept[0] is not ids:
            kept = ids, Bitmap.of(self.allowed(ids), self.runs.size)
            self._mask = kept
        return kept[1]

    def take(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by position, (n, dim)."""
        if len(self._parts) == 1:
            only: NDArray[np.float32] = self._parts[0][positions]
            return only
        found = np.empty((len(positions), self.dim), dtype=np.float32)
        part = np.searchsorted(self._firsts, positions, side="right") - 1
        for number in np.unique(part):
            inside = part == number
            found[inside] = self._parts[number][positions[inside] - self._firsts[number]]
        return found

    def by_id(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """Vectors by id, (n, dim), in the order given.

        Raises:
            KnowledgeError: an id that has none.
        """
        position, known = self.runs.positions(ids)
        if not known.all():
            raise KnowledgeError("asked for the vector of a row that has none")
        return self.take(position)

    def scores(self, query: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inner products of one query (dim,) with these rows, (n,)."""
        found: NDArray[np.float32] = np.einsum("ij,j->i", self.take(positions), query)
        return found

    def ranked(
        self, query: NDArray[np.float32], positions: NDArray[np.int64], k: int
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and positions of the k best of these rows; the older row first where scores are equal."""
        scores = self.scores(query, positions)
        order = np.lexsort((positions, -scores))[:k]
        return scores[order], positions[order]

    def scan(
        self, queries: NDArray[np.float32], k: int, positions: NDArray[np.int64] | None = None
    ) -> list[tuple[NDArray[np.float32], NDArray[np.int64]]]:
        """For each query the k best of these rows, or of all that live, by looking at each of them."""
        kept = [_Best(k) for _ in queries]
        total = self.runs.size if positions is None else len(positions)
        for at in range(0, total, _BLOCK):
            block = (
                self.live.positions(at, min(at + _BLOCK, total)) if positions is None else positions[at : at + _BLOCK]
            )
            if not len(block):
                continue
            rows = self.take(block)
            for some in range(0, len(queries), _QUERIES):
                similar = queries[some : some + _QUERIES] @ rows.T
                for best, row in zip(kept[some : some + _QUERIES], similar, strict=True):
                    best.take(row, block)
        return [self.ranked(query, best.positions(), k) for query, best in zip(queries, kept, strict=True)]


class _Best:
    """Every row that may be among the k best of one query, given what a product in single precision can be off."""

    def __init__(self, k: int) -> None:
        self.k = k
        self._floor = -np.inf
        self._scores: NDArray[np.float32] = np.empty(0, dtype=np.float32)
        self._positions: NDArray[np.int64] = np.empty(0, dtype=np.int64)

    def take(self, scores: NDArray[np.float32], positions: NDArray[np.int64]) -> None:
        near = np.flatnonzero(scores >= self._floor)
        if not len(near):
            return
        self._scores = np.concatenate([self._scores, scores[near]])
        self._positions = np.concatenate([self._positions, positions[near]])
        if len(self._scores) > self.k > 0:
            self._floor = float(np.partition(self._scores, -self.k)[-self.k]) - _NOISE
            kept = self._scores >= self._floor
            self._scores, self._positions = self._scores[kept], self._positions[kept]

    def positions(self) -> NDArray[np.int64]:
        return self._positions
