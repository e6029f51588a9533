"""The vectors of one snapshot: immutable parts, searched one by one and merged.

::

    part 0: the rows of the index file, or what was read at opening   (large, shared by every later snapshot)
    part 1…: rows that were added since, searched exactly             (small, merged as they grow in number)

A change makes a new set. Parts that it does not touch are shared; of a part that loses rows only the bitmap of live
rows is copied.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.ann.ann_index import CodedIndex
from llmkit.knowledge.local.vectors.flat_index import FlatIndex, Hits
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.recall_bound import Certificate

Part: TypeAlias = CodedIndex | FlatIndex
_SMALL = 4096  # rows up to which a part is always merged with what is added


class VectorSet:
    """Vectors by row, and the nearest of them. Safe to share between threads: nothing in it changes."""

    def __init__(self, dim: int, parts: Sequence[Part] = (), certificate: Certificate | None = None) -> None:
        """Parts in ascending order of their rows; `certificate`: of the index file of the first part."""
        self.dim = dim
        self.parts = tuple(parts)
        self.certificate = certificate

    def __len__(self) -> int:
        """Live rows."""
        return sum(len(part) for part in self.parts)

    def appended(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> VectorSet:
        """A set with these rows behind: ids (n,) ascending and larger than those before, vectors (n, dim).

        Small parts at the end are merged with the new rows, so that a row is copied a logarithmic number of times and
        the number of parts stays small (O'Neil et al. 1996).

        Raises:
            KnowledgeError: shapes that do not match, or ids out of order.
        """
        if len(ids) == 0:
            return self
        if self.parts and ids[0] <= self.parts[-1].rows.runs.last:
            raise KnowledgeError("vector ids are not in ascending order")
        rows, first = len(ids), len(self.parts)
        fixed = 0 if self.certificate is None else 1
        while first > fixed and self.parts[first - 1].rows.runs.size <= max(2 * rows, _SMALL):
            first -= 1
            rows += self.parts[first].rows.runs.size
        merged = self.parts[first:]
        made = FlatIndex(self.dim)
        pieces = [piece for part in merged for piece in part.rows.arrays()]
        for some_ids, some in _joined([*pieces, (ids, vectors)]):
            made.add(some_ids, some)
        for part in merged:
            made.remove(part.rows.runs.ids(_dead(part.rows)))
        return VectorSet(self.dim, (*self.parts[:first], made), self.certificate)

    def without(self, ids: NDArray[np.int64]) -> VectorSet:
        """A set that finds these rows no more; unknown ids are ignored. Their vectors can still be read."""
        if len(ids) == 0:
            return self
        parts = [part.without(ids) if part.rows.runs.positions(ids)[1].any() else part for part in self.parts]
        return VectorSet(self.dim, parts, self.certificate)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None, *, exact: bool = False
    ) -> Hits:
        """Scores and ids, both (n, k), best first; id -1 fills where fewer than k rows are allowed."""
        if not self.parts:
            return np.full((len(queries), k), -np.inf, np.float32), np.full((len(queries), k), -1, np.int64)
        found = [part.search(queries, k, allowed, exact=exact) for part in self.parts]
        if len(found) == 1:
            return found[0]
        scores, ids = np.hstack([one[0] for one in found]), np.hstack([one[1] for one in found])
        order = np.lexsort((ids, -scores), axis=-1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors of these ids, (n, dim), in the order given; rows that died included.

        Raises:
            KnowledgeError: an id that has none.
        """
        ids = np.asarray(ids, dtype=np.int64)
        if len(self.parts) == 1:
            return self.parts[0].rows.by_id(ids)
        found = np.empty((len(ids), self.dim), dtype=np.float32)
        left = np.ones(len(ids), dtype=np.bool_)
        for part in self.parts:
            here = left & (ids <= part.rows.runs.last)
            found[here] = part.rows.by_id(ids[here])
            left &= ~here
        if left.any():
            raise KnowledgeError("asked for the vector of a row that has none")
        return found

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether there is a vector of each id, (n,), removed ones included."""
        found = np.zeros(len(ids), dtype=np.bool_)
        for part in self.parts:
            found |= part.rows.runs.positions(ids)[1]
        return found

    def ids(self) -> NDArray[np.int64]:
        """Ids of the rows that live, ascending."""
        found = [part.rows.runs.ids(part.rows.live.positions()) for part in self.parts]
        return np.concatenate([np.empty(0, dtype=np.int64), *found])


def _dead(rows: StoredRows) -> NDArray[np.int64]:
    """Positions of the rows that are left out."""
    flags = np.ones(rows.runs.size, dtype=np.bool_)
    flags[rows.live.positions()] = False
    return np.flatnonzero(flags)


def _joined(
    pieces: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Pieces in the same order, neighbours that are small copied into one array."""
    found: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    small: list[tuple[NDArray[np.int64], NDArray[np.float32]]] = []
    for ids, vectors in pieces:
        if len(ids) > _SMALL:
            found += [*_one(small), (ids, vectors)]
            small = []
        else:
            small.append((ids, vectors))
    return [*found, *_one(small)]


def _one(
    pieces: Sequence[tuple[NDArray[np.int64], NDArray[np.float32]]],
) -> list[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    if len(pieces) < 2:
        return list(pieces)
    return [(np.concatenate([ids for ids, _ in pieces]), np.concatenate([vectors for _, vectors in pieces]))]
