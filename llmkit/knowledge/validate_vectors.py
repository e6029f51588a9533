"""What an encoder gives is looked at before it is believed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError

_OFF = 0.01  # lengths from 0.99 to 1.01 are unit lengths in every precision


def unit_vectors(vectors: NDArray[np.float32], rows: int, dim: int, whose: str) -> NDArray[np.float32]:
    """The vectors themselves, (rows, dim).

    A vector that is not a number is found by no search, a long one by every search, and one of another shape stands
    for another text.

    Raises:
        KnowledgeError: of another shape, or a row that is not of unit length.
    """
    if vectors.shape != (rows, dim):
        raise KnowledgeError(
            f"{whose} gave vectors of shape {vectors.shape} for {rows} texts, expected ({rows}, {dim})"
        )
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _OFF))
    if len(wrong):
        raise KnowledgeError(
            f"{whose} gave vectors that are not of unit length: row {wrong[0]} has length {lengths[wrong[0]]:.2f}"
        )
    return vectors
