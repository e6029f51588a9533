"""Search through shortened codes: FAISS proposes, single precision decides.

::

    query ── nearest lists, or a walk of the graph ──> `depth` rows by their codes ──> scored again from disk ──> k
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.bitmap import Bitmap
from llmkit.knowledge.certificate import Certificate, K
from llmkit.knowledge.stored import StoredRows
from llmkit.knowledge.vectors import FEW, Hits, as_arrays


class CodedIndex:
    """Approximate search over rows that are all there; what is found is as good as its certificate says.

    Filters act inside: few allowed rows are all scored, exactly; of many, more lists are looked into the fewer they
    are, until enough are found.
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
        """What the codes propose, scored again."""
        told = self.certificate
        more = max(1.0, k / K)
        depth = min(int(told.depth * more), mask.count)
        least = told.lists or self.rows.runs.size
        probes = min(least, int(told.probes * np.sqrt(more) * self.rows.runs.size / mask.count) + 1)
        found = np.empty((len(queries), depth), dtype=np.int64)
        left = np.arange(len(queries))
        while len(left):
            found[left] = propose(self._index, told.structure, queries[left], depth, probes, mask)
            if probes >= least:
                break
            left = left[(found[left] < 0).any(axis=1)]  # too few allowed rows where we looked
            probes = min(least, probes * 4)
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
    found: NDArray[np.int64] = index.search(queries, depth, params=params)[1]
    return found
