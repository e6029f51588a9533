"""The vectors of a FAISS file that holds them as they are; every length is checked against the file first.

FAISS's own reader, in C++, is not given a file from elsewhere. Only flat indexes (`IndexFlatL2`, `IndexFlatIP`,
`IndexFlat`) hold their vectors unchanged; of any other only the number of rows is read.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError

_HEADER = struct.Struct("<4siqqqBi")  # name, dim, rows, two words that mean nothing, trained, metric
_FLAT = (b"IxFI", b"IxF2", b"IxFl")
_METRICS: dict[int, Literal["inner product", "L2"]] = {0: "inner product", 1: "L2"}


@dataclass(frozen=True, slots=True)
class FlatFile:
    """What a FAISS file says of itself."""

    kind: str
    """FAISS's four letters."""
    rows: int
    dim: int
    metric: Literal["inner product", "L2"]
    vectors: NDArray[np.float32] | None
    """(rows, dim), memory-mapped; None where the index is not flat."""


def read_flat(path: Path) -> FlatFile:
    """Read a FAISS index file.

    Raises:
        KnowledgeError: it is none, its metric is another, or its lengths do not fit the file.
    """
    size = path.stat().st_size
    with path.open("rb") as file:
        head = file.read(_HEADER.size + 8)
    if len(head) < _HEADER.size:
        raise KnowledgeError(f"{path} has {size} bytes: no FAISS index")
    name, dim, rows, _, _, trained, metric = _HEADER.unpack_from(head)
    kind = name.decode("ascii", errors="replace")
    if not (kind.isalnum() and kind.startswith("I") and 0 < dim <= 1 << 16 and 0 <= rows <= 1 << 40 and trained <= 1):
        raise KnowledgeError(f"{path} does not begin like a FAISS index ({kind!r}, {rows} rows of {dim})")
    if metric not in _METRICS:
        raise KnowledgeError(f"{path} compares by FAISS's metric {metric}: only inner product and L2 mean cosine")
    if name not in _FLAT:
        return FlatFile(kind, rows, dim, _METRICS[metric], None)
    expected = _HEADER.size + 8 + 4 * rows * dim
    (count,) = struct.unpack_from("<Q", head, _HEADER.size) if len(head) >= _HEADER.size + 8 else (-1,)
    if count != rows * dim or size != expected:
        raise KnowledgeError(
            f"{path} says {rows} rows of {dim} and {count} numbers, which is a file of {expected} bytes, not of {size}"
        )
    if rows == 0:
        return FlatFile(kind, 0, dim, _METRICS[metric], np.empty((0, dim), dtype=np.float32))
    vectors = np.memmap(path, dtype="<f4", mode="r", offset=_HEADER.size + 8, shape=(rows, dim))
    return FlatFile(kind, rows, dim, _METRICS[metric], vectors)
