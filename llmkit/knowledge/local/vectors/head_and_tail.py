"""An index file over the older rows, and the rows since, as one."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError
from llmkit.knowledge.local.ann.ann_index import CodedIndex
from llmkit.knowledge.local.vectors.flat_index import FlatIndex, Hits
from llmkit.knowledge.local.vectors.row_store import StoredRows
from llmkit.knowledge.recall_bound import Certificate


class IndexedVectors:
    """Rows that an index file covers are searched through it, those that came after exactly; the best of both win."""

    def __init__(self, head: CodedIndex | FlatIndex, certificate: Certificate) -> None:
        self.head = head
        self.tail = FlatIndex(head.rows.dim)
        self.certificate = certificate

    def __len__(self) -> int:
        return len(self.head) + len(self.tail)

    @property
    def stored(self) -> tuple[StoredRows, StoredRows]:
        """Rows that are covered, and rows that are not."""
        return self.head.rows, self.tail.rows

    def add(self, ids: NDArray[np.int64], vectors: NDArray[np.float32]) -> None:
        """Add rows behind: ids (n,) ascending and larger than those before, vectors (n, dim).

        Raises:
            KnowledgeError: shapes that do not match, or ids out of order.
        """
        if len(ids) and ids[0] <= self.head.rows.runs.last:
            raise KnowledgeError("vector ids are not in ascending order")
        self.tail.add(ids, vectors)

    def remove(self, ids: NDArray[np.int64]) -> None:
        """Leave rows out of every later search; unknown ids are ignored. Costs what is removed."""
        self.head.remove(ids)
        self.tail.remove(ids)

    def search(
        self, queries: NDArray[np.float32], k: int, allowed: NDArray[np.int64] | None = None, *, exact: bool = False
    ) -> Hits:
        """Scores and ids, both (n, k), best first; id -1 fills where fewer than k rows are allowed."""
        found = self.head.search(queries, k, allowed, exact=exact)
        if not self.tail.rows.runs.size:
            return found
        since = self.tail.search(queries, k, allowed)
        scores, ids = np.hstack([found[0], since[0]]), np.hstack([found[1], since[1]])
        order = np.lexsort((ids, -scores), axis=-1)[:, :k]
        return np.take_along_axis(scores, order, axis=1), np.take_along_axis(ids, order, axis=1)

    def vectors(self, ids: NDArray[np.int64]) -> NDArray[np.float32]:
        """The stored vectors of these ids, (n, dim), in the order given."""
        ids = np.asarray(ids, dtype=np.int64)
        old = ids <= self.head.rows.runs.last
        found = np.empty((len(ids), self.head.rows.dim), dtype=np.float32)
        found[old], found[~old] = self.head.rows.by_id(ids[old]), self.tail.rows.by_id(ids[~old])
        return found

    def holds(self, ids: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether there is a vector of each id, (n,), removed ones included."""
        return self.head.rows.runs.positions(ids)[1] | self.tail.rows.runs.positions(ids)[1]

    def ids(self) -> NDArray[np.int64]:
        """Ids of the rows that live, ascending."""
        return np.concatenate([rows.runs.ids(rows.live.positions()) for rows in self.stored])
