"""Checks on the vectors that an encoder returns, before they are stored or searched with."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError

_TOLERANCE = 0.01  # lengths from 0.99 to 1.01 are unit lengths in every precision


def unit_vectors(vectors: NDArray[np.float32], rows: int, dim: int, whose: str) -> NDArray[np.float32]:
    """Check the shape and the lengths of vectors, and return them unchanged, (rows, dim).

    No search would return a vector with NaN, every search would return a long one, and vectors of another shape would
    belong to other texts.

    Raises:
        KnowledgeError: The shape is not (rows, dim), or a row is not of unit length.
    """
    if vectors.shape != (rows, dim):
        raise KnowledgeError(
            f"{whose} gave vectors of shape {vectors.shape} for {rows} texts, expected ({rows}, {dim})"
        )
    lengths = np.sqrt(np.einsum("ij,ij->i", vectors, vectors))
    wrong = np.flatnonzero(~(np.abs(lengths - 1) <= _TOLERANCE))
    if len(wrong):
        raise KnowledgeError(
            f"{whose} gave vectors that are not of unit length: row {wrong[0]} has length {lengths[wrong[0]]:.2f}"
        )
    return vectors
