"""Building FAISS indexes over rows on disk, a block at a time: lists or a graph, and codes to fill them.

Rows are turned by one random rotation before they are shortened, which spreads what matters evenly over the numbers
of a vector (Gao & Long 2024, RaBitQ). Rows are sorted into lists once, whatever codes are tried after.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from llmkit.knowledge.local.vectors.row_store import StoredRows

_BLOCK = 16384
_TRAINING = 48  # rows a centroid is trained on
_PQ_TRAINING = 16384
_LINKS = 16
CODES = ("pq", "rabitq", "pq2", "rabitq2", "rabitq4", "sq8", "float16")
"""Shortest first: product quantization with one byte for eight numbers (Jégou et al. 2011), RaBitQ with one bit for
each (Gao & Long 2024), one byte for four, two bits, four bits, one byte, a half-precision float."""


def usable(codes: str, structure: str, dim: int, rows: int) -> bool:
    """Whether vectors of this length, and so few or many of them, can be shortened so."""
    if structure == "hnsw":
        return codes in ("sq8", "float16")
    if codes in ("pq", "pq2"):
        return dim % 8 == 0 and rows >= 4096
    return True


class Lists:
    """Rows sorted into lists around centroids, from which an index of any codes is filled."""

    def __init__(self, rows: StoredRows, kept_out: NDArray[np.int64]) -> None:
        """Train centroids on a sample of the rows without those kept out, and sort all rows."""
        import faiss

        self._library: Any = faiss
        self._rows, dim = rows, rows.dim
        n = rows.runs.size
        self.count = max(1, round(2 * n**0.5)) if n >= 1000 else 1
        rng = np.random.default_rng(0)
        room = np.setdiff1d(np.arange(n), kept_out)
        room = room if len(room) >= self.count else np.arange(n)
        sample = np.sort(rng.choice(room, min(len(room), max(_PQ_TRAINING, _TRAINING * self.count)), replace=False))
        self._turn = self._library.RandomRotationMatrix(dim, dim)
        self._turn.init(7)
        self._sample = self._turn.apply(np.ascontiguousarray(rows.take(sample)))
        clustering = self._library.Clustering(dim, self.count)
        clustering.niter, clustering.seed, clustering.spherical = 8, 7, True
        clustering.min_points_per_centroid = 1
        clustering.max_points_per_centroid = 10**6
        self._centroids = self._library.IndexFlatIP(dim)
        clustering.train(self._sample, self._centroids)
        self._lists = np.concatenate([self._centroids.search(block, 1)[1][:, 0] for _, block in self._turned()])

    def _turned(self) -> Iterator[tuple[int, NDArray[np.float32]]]:
        for at, block in blocks(self._rows):
            yield at, self._turn.apply(block)

    def filled(self, codes: str) -> Any:
        """A FAISS index of these codes, whose ids are positions."""
        library, dim = self._library, self._rows.dim
        metric = library.METRIC_INNER_PRODUCT
        inner: Any
        if codes.startswith("rabitq"):
            inner = library.IndexIVFRaBitQ(self._centroids, dim, self.count, metric, True, int(codes[6:] or 1))
            inner.qb = 8
        elif codes.startswith("pq"):
            inner = library.IndexIVFPQ(self._centroids, dim, self.count, dim // (8 if codes == "pq" else 4), 8, metric)
            inner.pq.cp.niter, inner.pq.cp.seed = 10, 7
        else:
            kind = library.ScalarQuantizer.QT_8bit if codes == "sq8" else library.ScalarQuantizer.QT_fp16
            inner = library.IndexIVFScalarQuantizer(self._centroids, dim, self.count, kind, metric, False)
        inner.train(self._sample[:: max(1, len(self._sample) // _PQ_TRAINING)])
        for at, block in self._turned():
            ids = np.arange(at, at + len(block), dtype=np.int64)
            lists = np.ascontiguousarray(self._lists[at : at + len(block)])
            inner.add_core(len(block), *(library.swig_ptr(one) for one in (block, ids, lists)))
        return library.IndexPreTransform(self._turn, inner)

    def bytes_per_vector(self, index: Any) -> float:
        """Codes, ids and the share of centroids, the rotation too."""
        inner = self._library.downcast_index(index.index)
        shared = 4 * self._rows.dim * (self.count + self._rows.dim)
        return float(inner.code_size + 8 + shared / self._rows.runs.size)


def graph(rows: StoredRows, codes: str) -> Any:
    """An HNSW graph over codes of these rows (Malkov & Yashunin 2018)."""
    import faiss

    library: Any = faiss
    kind = library.ScalarQuantizer.QT_8bit if codes == "sq8" else library.ScalarQuantizer.QT_fp16
    index = library.IndexHNSWSQ(rows.dim, kind, _LINKS, library.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 100
    rng = np.random.default_rng(0)
    n = rows.runs.size
    index.train(np.ascontiguousarray(rows.take(np.sort(rng.choice(n, min(n, _PQ_TRAINING), replace=False)))))
    for _, block in blocks(rows):
        index.add(block)
    return index


def graph_bytes(rows: StoredRows, codes: str) -> float:
    """Codes and links, on average: twice as many links on the lowest level, few above."""
    return rows.dim * (1 if codes == "sq8" else 2) + 4 * _LINKS * (2 + 1 / (_LINKS - 1)) + 12


def scan(rows: StoredRows, empty: Callable[[int], Any]) -> Any:
    """Half-precision codes of every row, one after the other."""
    index = empty(rows.dim)
    for _, block in blocks(rows):
        index.add(block)
    return index


def blocks(rows: StoredRows) -> Iterator[tuple[int, NDArray[np.float32]]]:
    """First position and vectors, some at a time; rows that died are among them."""
    for at in range(0, rows.runs.size, _BLOCK):
        block = rows.take(np.arange(at, min(at + _BLOCK, rows.runs.size)))
        yield at, np.ascontiguousarray(block, dtype=np.float32)


def write(index: Any, path: Path) -> None:
    """In FAISS's own format."""
    import faiss

    library: Any = faiss
    library.write_index(index, str(path))


def mapped(path: Path, structure: str) -> Any:
    """An index read where it lies: what is not searched is not loaded.

    Raises:
        RuntimeError: not an index FAISS can read.
    """
    import faiss

    library: Any = faiss
    if structure != "ivf":
        return library.read_index(str(path), library.IO_FLAG_MMAP_IFC)
    index = library.read_index(str(path), library.IO_FLAG_MMAP)
    lists = library.downcast_InvertedLists(library.extract_index_ivf(index).invlists)
    lists.prefetch_nthread = 0  # threads made for every search cost more than what they would fetch ahead
    return index
