"""Nearest neighbours by inner product: FAISS over rows of (id, vector), exact.

The scan reads half-precision codes, which is half the memory traffic; the best of it are scored again in single
precision, and a bound on the rounding error proves that no other row belongs among them, or more rows are scored.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError

# Rounding a unit vector to half precision moves it by at most 2**-11, and its inner product with one no more;
# twice that leaves room for encoders whose vectors are not of exactly unit length.
_ERROR = 2.0**-10
_MANY = 20  # queries searched at once
_FEW = 0.02  # below this share of allowed rows, scoring just those is faster than a masked scan of all


class FlatIndex:
    """Exact search over unit vectors. Ids are kept ascending; a result's id is looked up by position.

    The single-precision vectors stay where they came from, which may be a memory-mapped file.
    """

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._live: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)
        self._parts: list[NDArray[np.float32]] = []
        self._firsts: list[int] = []
        """Position of the first row of each part."""

    @cached_property
    def _codes(self) -> Any:
        import faiss

        library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
        return library.IndexScalarQuantizer(self.dim, library.ScalarQuantizer.QT_fp16, library.METRIC_INNER_PRODUCT)

    def __len__(self) -> int:
        return int(self._live.sum())

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows: ids (n,) ascending and larger than those before, vectors (n, dim).

        Raises:
            KnowledgeError: shapes that do not match, or ids out of order.
        """
        if vectors.shape != (len(ids), self.dim):
            raise KnowledgeError(f"{len(ids)} ids came with vectors of shape {vectors.shape}, expected {self.dim} wide")
        if len(ids) == 0:
            return
        after = self.ids[-1] if len(self.ids) else -1
        if ids[0] <= after or (np.diff(ids) <= 0).any():
            raise KnowledgeError("vector ids are not in ascending order")
        self._codes.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self._firsts.append(len(self.ids))
        self._parts.append(vectors)
        self.ids = np.concatenate([self.ids, ids])
        self._live = np.concatenate([self._live, np.ones(len(ids), dtype=np.bool_)])

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Leave rows out of every later search; unknown ids are ignored."""
        self._live[self._positions(ids)] = False

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and ids, both (n, k), best first; id -1 fills where fewer than k rows are allowed."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        mask = self._live
        if allowed is not None:
            mask = np.zeros_like(self._live)
            mask[self._positions(allowed)] = True
            mask &= self._live
        few = int(mask.sum())
        if few == 0 or len(queries) == 0:
            return scores, ids
        if few < _FEW * len(mask):
            return self._scan(queries, k, np.flatnonzero(mask))
        width = min(k, few)
        selector = self._selector(mask, whole=few == len(mask) and len(queries) >= _MANY)
        left = np.arange(len(queries))
        wanted = width + width // 2 + 16
        while len(left):
            near, positions = self._codes.search(queries[left], min(wanted, few), params=selector)
            exact = self._rescore(queries[left], positions)
            order = np.argsort(-exact, axis=1, kind="stable")[:, :width]
            best = np.take_along_axis(exact, order, axis=1)
            proven = (best[:, -1] >= near[:, -1] + _ERROR) | (wanted >= few)
            done = left[proven]
            scores[done, :width] = best[proven]
            ids[done, :width] = self.ids[np.take_along_axis(positions, order, axis=1)[proven]]
            left, wanted = left[~proven], wanted * 4
        return scores, ids

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors of these ids, (n, dim), in the order given."""
        positions = np.searchsorted(self.ids, ids)
        if (positions >= len(self.ids)).any() or (self.ids[positions] != ids).any():
            raise KnowledgeError("asked for the vector of a row that has none")
        return self._rows(positions)

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether there is a vector of each id, (n,), removed ones included."""
        positions = np.searchsorted(self.ids, ids)
        found = positions < len(self.ids)
        found[found] = self.ids[positions[found]] == ids[found]
        return found

    def _scan(
        self, queries: NDArray[np.float32], k: int, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Score only these rows."""
        similar = queries @ self._rows(positions).T
        order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        scores[:, : order.shape[1]] = np.take_along_axis(similar, order, axis=1)
        ids[:, : order.shape[1]] = self.ids[positions[order]]
        return scores, ids

    def _selector(self, mask: NDArray[np.bool_], *, whole: bool) -> Any:
        """What FAISS is told to look at; None is everything.

        One query scans a masked index faster than an unmasked one, many queries the other way round.
        """
        import faiss

        library: Any = faiss
        if whole:
            return None
        return library.SearchParameters(sel=library.IDSelectorBitmap(np.packbits(mask, bitorder="little")))

    def _rescore(self, queries: NDArray[np.float32], positions: NDArray[np.int64]) -> NDArray[np.float32]:
        """Inner products in single precision, (n, width)."""
        return np.stack([self._rows(row) @ query for query, row in zip(queries, positions, strict=True)])

    def _rows(self, positions: NDArray[np.int64]) -> NDArray[np.float32]:
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

    def _positions(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        positions = np.searchsorted(self.ids, ids)
        positions = positions[positions < len(self.ids)] if len(self.ids) else positions[:0]
        known = np.isin(self.ids[positions], ids)
        kept: NDArray[np.int64] = positions[known]
        return kept
