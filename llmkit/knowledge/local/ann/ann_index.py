"""Search through shortened codes: FAISS proposes, single precision decides.

::

    query ── nearest lists, or a walk of the graph ──> `depth` rows by their codes ──> scored again from disk ──> k
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.ann.search_parameters import search
from llmkit.knowledge.local.vectors.bitmap import Bitmap
from llmkit.knowledge.local.vectors.flat_index import FEW, Hits, as_arrays
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.recall_bound import Certificate, K

_NEARLY_ALL = 0.9  # above this share of allowed rows, a search is as good as without a filter


class CodedIndex:
    """Approximate search over rows that are all there; what is found is as good as its certificate says.

    Filters act inside: few allowed rows are all scored, exactly; for many, more lists are looked into the fewer they
    are, until looking into twice as many changes nothing.
    """

    def __init__(self, rows: StoredRows, index: Any, certificate: Certificate) -> None:
        """Over `rows`, whose positions are the ids of the FAISS index."""
        self.rows = rows
        self.certificate = certificate
        self._index = index

    def __len__(self) -> int:
        return self.rows.live.count

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Leave rows out of every later search; unknown ids are ignored. Costs what is removed."""
        self.rows.bury(ids)

    def without(self, ids: NDArray[np.int64]) -> CodedIndex:
        """The same index with rows left out of every search; everything but the bitmap is shared."""
        return CodedIndex(self.rows.without(ids), self._index, self.certificate)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None, *, exact: bool = False
    ) -> Hits:
        """Scores and ids, both (n, k), best first; id -1 fills where fewer than k rows are allowed.

        Args:
            queries: unit vectors, (n, dim).
            k: how many.
            allowed: ids that may be found, ascending.
            exact: score every allowed row in single precision, so that the answer depends on nothing else.
        """
        queries = np.ascontiguousarray(queries, dtype=np.float32)
        if len(queries) == 0 or k == 0:
            return as_arrays(self.rows, [(np.empty(0, np.float32), np.empty(0, np.int64))] * len(queries), k)
        few = len(self) if allowed is None else len(allowed)
        if not exact and few >= FEW * self.rows.runs.size:
            mask = self.rows.mask(allowed)
            few = mask.count
            if few >= FEW * self.rows.runs.size:
                return as_arrays(self.rows, self._near(queries, k, mask), k)
        within = None if allowed is None else self.rows.allowed(allowed)
        return as_arrays(self.rows, self.rows.scan(queries, k, within), k)

    def _near(self, queries: NDArray[np.float32], k: int, mask: Bitmap) -> list[Hits]:
        """What the codes propose, scored again.

        Which lists hold the allowed rows nearest to a query is not known: the filter may leave out just those around
        it. So twice as many are looked into until that changes nothing.
        """
        told = self.certificate
        more = max(1.0, k / K)
        depth = min(int(told.depth * more), mask.count)
        least = told.lists or self.rows.runs.size
        probes = min(least, int(told.probes * np.sqrt(more) * self.rows.runs.size / mask.count))
        found = self._scored(queries, k, depth, probes, mask)
        if mask.count > _NEARLY_ALL * mask.size:
            return found
        left = list(range(len(queries)))
        while left and probes < least:
            probes = min(least, probes * 2)
            wider = self._scored(queries[left], k, depth, probes, mask)
            changed = []
            for query, best in zip(left, wider, strict=True):
                if len(best[1]) < min(k, mask.count) or not np.array_equal(best[1], found[query][1]):
                    changed.append(query)
                found[query] = best
            left = changed
        return found

    def _scored(self, queries: NDArray[np.float32], k: int, depth: int, probes: int, mask: Bitmap) -> list[Hits]:
        found = propose(self._index, self.certificate.structure, queries, depth, probes, mask)
        if found.max(initial=-1) >= self.rows.runs.size:
            raise KnowledgeError("the vector index names rows that are not there: run `llmkit kb repair`")
        return [self.rows.ranked(query, row[row >= 0], k) for query, row in zip(queries, found, strict=True)]


def propose(
    index: Any, structure: str, queries: NDArray[np.float32], depth: int, probes: int, mask: Bitmap
) -> NDArray[np.int64]:
    """Positions of the rows whose codes are nearest, (n, depth), -1 where there were not so many."""
    import faiss

    library: Any = faiss
    selector = None if mask.full else library.IDSelectorBitmap(mask.packed)
    params: Any
    if structure == "hnsw":
        params = library.SearchParametersHNSW(efSearch=max(probes, depth), sel=selector)
    else:
        params = library.SearchParametersPreTransform(
            index_params=library.SearchParametersIVF(nprobe=probes, sel=selector)
        )
    return search(index, queries, depth, params)[1]
