"""Nearest neighbours by inner product: FAISS over rows of (id, vector), exact.

The scan reads half-precision codes, which is half the memory traffic; the best of it are scored again in single
precision, and a bound on the rounding error proves that no other row belongs among them, or more rows are scored.
"""

from __future__ import annotations

from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge.local.ann.search_parameters import search
from llmkit.knowledge.local.vectors.bitmap import Bitmap
from llmkit.knowledge.local.vectors.row_store import StoredRows

# Rounding a unit vector to half precision moves it by at most 2**-11, and its inner product with one no more;
# twice that leaves room for encoders whose vectors are not of exactly unit length.
_ERROR = 2.0**-10
_MANY = 20  # queries searched at once
FEW = 0.02  # below this share of allowed rows, scoring just those is faster than a masked scan of all

Hits = tuple[NDArray[np.float32], NDArray[np.int64]]


class FlatIndex:
    """Exact search over unit vectors. Ids are kept ascending; a result's id is looked up by position.

    The single-precision vectors stay where they came from, which may be a memory-mapped file.
    """

    def __init__(self, dim: int, rows: StoredRows | None = None, codes: Any = None) -> None:
        """Empty, or over rows whose half-precision codes are there already, as a FAISS index."""
        self.dim = dim
        self.rows = rows or StoredRows(dim)
        if codes is not None:
            self.__dict__["_codes"] = codes

    @cached_property
    def _codes(self) -> Any:
        return half_precision(self.dim)

    def __len__(self) -> int:
        return self.rows.live.count

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows: ids (n,) ascending and larger than those before, vectors (n, dim).

        Raises:
            KnowledgeError: shapes that do not match, or ids out of order.
        """
        self.rows.append(ids, vectors)
        if len(ids):
            self._codes.add(np.ascontiguousarray(vectors, dtype=np.float32))

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Leave rows out of every later search; unknown ids are ignored. Costs what is removed."""
        self.rows.bury(ids)

    def without(self, ids: NDArray[np.int64]) -> FlatIndex:
        """The same index with rows left out of every search; everything but the bitmap is shared."""
        return FlatIndex(self.dim, self.rows.without(ids), self._codes)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None, *, exact: bool = False
    ) -> Hits:
        """Scores and ids, both (n, k), best first; id -1 fills where fewer than k rows are allowed. Always exact."""
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        few = len(self) if allowed is None else len(allowed)
        if few < FEW * self.rows.runs.size:
            return as_arrays(self.rows, self.rows.scan(queries, k, self.rows.allowed(allowed)), k)
        mask = self.rows.mask(allowed)
        few = mask.count
        if few == 0 or len(queries) == 0:
            return as_arrays(self.rows, [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(queries), k)
        width = min(k, few)
        params = None if mask.full and len(queries) >= _MANY else selecting(mask)
        found: list[Hits] = [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(queries)
        left = np.arange(len(queries))
        wanted = width + width // 2 + 16
        while len(left):
            near, positions = search(self._codes, queries[left], min(wanted, few), params)
            unproven = []
            for query, last, some in zip(left.tolist(), near[:, -1], positions, strict=True):
                best = self.rows.ranked(queries[query], some, width)
                if best[0][-1] >= last + _ERROR or wanted >= few:
                    found[query] = best
                else:
                    unproven.append(query)
            left, wanted = np.array(unproven, dtype=np.int64), wanted * 4
        return as_arrays(self.rows, found, k)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors of these ids, (n, dim), in the order given."""
        return self.rows.by_id(ids)

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether there is a vector of each id, (n,), removed ones included."""
        return self.rows.runs.positions(ids)[1]

    def ids(self) -> NDArray[np.int64]:
        """Ids of the rows that live, ascending."""
        return self.rows.runs.ids(self.rows.live.positions())


def half_precision(dim: int) -> Any:
    """An empty FAISS index of half-precision codes."""
    import faiss

    library: Any = faiss  # its stubs describe the C++ signatures, not the Python ones
    return library.IndexScalarQuantizer(dim, library.ScalarQuantizer.QT_fp16, library.METRIC_INNER_PRODUCT)


def selecting(mask: Bitmap) -> Any:
    """Parameters that tell FAISS to look at these rows only.

    One query scans a masked index faster than an unmasked one, many queries the other way round.
    """
    import faiss

    library: Any = faiss
    return library.SearchParameters(sel=library.IDSelectorBitmap(mask.packed))


def as_arrays(rows: StoredRows, found: list[Hits], k: int) -> Hits:
    """Scores and ids of every query, (n, k), filled with -inf and -1."""
    scores = np.full((len(found), k), -np.inf, dtype=np.float32)
    ids = np.full((len(found), k), -1, dtype=np.int64)
    for query, (some, positions) in enumerate(found):
        scores[query, : len(some)] = some
        ids[query, : len(some)] = rows.runs.ids(positions)
    return scores, ids
