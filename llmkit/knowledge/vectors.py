"""Nearest neighbours by inner product: FAISS over rows of (id, vector)."""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError

_FEW = 0.02  # below this share of allowed rows, scoring just those is faster than a masked scan of all


class FlatIndex:
    """Exact search. Ids are kept ascending; the id of a result is looked up by position, never stored twice."""

    def __init__(self, dim: int) -> None:
        self.dim = dim
        self.ids: NDArray[np.int64] = np.empty(0, dtype=np.int64)
        self._live: NDArray[np.bool_] = np.empty(0, dtype=np.bool_)

    @cached_property
    def _faiss(self) -> Any:
        import faiss

        return faiss.IndexFlatIP(self.dim)

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
        self._faiss.add(np.ascontiguousarray(vectors, dtype=np.float32))
        self.ids = np.concatenate([self.ids, ids])
        self._live = np.concatenate([self._live, np.ones(len(ids), dtype=np.bool_)])

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Leave rows out of every later search; unknown ids are ignored."""
        self._live[self._positions(ids)] = False

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Scores and ids, both (n, k), best first; id -1 fills where fewer than k rows are allowed."""
        import faiss

        library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
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
        # FAISS scans a masked index with one query faster than an unmasked one, many queries the other way round
        whole = few == len(mask) and len(queries) >= 20
        bits = np.packbits(mask, bitorder="little")
        selector = None if whole else library.SearchParameters(sel=library.IDSelectorBitmap(bits))
        width = min(k, few)
        found, positions = self._faiss.search(queries, width, params=selector)
        scores[:, :width] = found
        ids[:, :width] = self.ids[positions]
        return scores, ids

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors of these ids, (n, dim), in the order given."""
        positions = np.searchsorted(self.ids, ids)
        if (positions >= len(self.ids)).any() or (self.ids[positions] != ids).any():
            raise KnowledgeError("asked for the vector of a row that has none")
        return self._matrix[positions]

    def _scan(
        self, queries: NDArray[np.float32], k: int, positions: NDArray[np.int64]
    ) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Score only these rows."""
        similar = queries @ self._matrix[positions].T
        order = np.argsort(-similar, axis=1, kind="stable")[:, :k]
        scores = np.full((len(queries), k), -np.inf, dtype=np.float32)
        ids = np.full((len(queries), k), -1, dtype=np.int64)
        scores[:, : order.shape[1]] = np.take_along_axis(similar, order, axis=1)
        ids[:, : order.shape[1]] = self.ids[positions[order]]
        return scores, ids

    @property
    def _matrix(self) -> NDArray[np.float32]:
        """FAISS's own rows, without a copy: (n, dim). Valid until the next add."""
        import faiss

        count = self._faiss.ntotal * self.dim
        if count == 0:
            return np.empty((0, self.dim), dtype=np.float32)
        flat: NDArray[np.float32] = faiss.rev_swig_ptr(self._faiss.get_xb(), count)
        return flat.reshape(-1, self.dim)

    def _positions(self, ids: NDArray[np.int64]) -> NDArray[np.int64]:
        positions = np.searchsorted(self.ids, ids)
        positions = positions[positions < len(self.ids)] if len(self.ids) else positions[:0]
        known = np.isin(self.ids[positions], ids)
        kept: NDArray[np.int64] = positions[known]
        return kept
