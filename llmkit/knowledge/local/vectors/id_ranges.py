"""Ascending ids as runs of neighbours: almost nothing to hold, for rows are numbered as they come."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import KnowledgeError


class Runs:
    """Ids by position and positions by id. Sixteen bytes a run, whatever its length."""

    def __init__(self) -> None:
        self._table: NDArray[np.int64] = np.zeros((2, 16), dtype=np.int64)
        """First id and first position of each run; room for more behind."""
        self._used = 0
        self.size = 0

    @classmethod
    def decoded(cls, content: bytes) -> Runs:
        """From pairs of (first id, length), as :meth:`encoded` wrote them."""
        pairs = np.frombuffer(content, dtype="<i8").reshape(-1, 2).T
        made = cls()
        made._table = np.stack([pairs[0], np.cumsum(pairs[1]) - pairs[1]]).astype(np.int64)
        made._used, made.size = pairs.shape[1], int(pairs[1].sum())
        return made

    def encoded(self) -> bytes:
        """Pairs of (first id, length), little-endian."""
        first, at = self._table[:, : self._used]
        return np.stack([first, np.diff(at, append=self.size)], axis=1).astype("<i8").tobytes()

    def append(self, ids: NDArray[np.int64]) -> None:
        """Add ids, ascending and larger than those before.

        Raises:
            KnowledgeError: they are not.
        """
        if len(ids) == 0:
            return
        if ids[0] <= self.last or (np.diff(ids) <= 0).any():
            raise KnowledgeError("vector ids are not in ascending order")
        before = self.last if self.size else ids[0] - 2  # the very first id begins a run
        begins = np.flatnonzero(np.diff(ids, prepend=before) != 1)
        end = self._used + len(begins)
        if end > self._table.shape[1]:
            wider = np.zeros((2, max(2 * self._table.shape[1], end)), dtype=np.int64)
            wider[:, : self._used] = self._table[:, : self._used]
            self._table = wider
        self._table[:, self._used : end] = ids[begins], begins + self.size
        self._used, self.size = end, self.size + len(ids)

    @property
    def last(self) -> int:
        """The largest id; -1 where there is none."""
        return int(self.ids(np.array([self.size - 1]))[0]) if self.size else -1

    def ids(self, positions: NDArray[np.int64] | None = None) -> NDArray[np.int64]:
        """The ids at these positions, or all of them."""
        if positions is None:
            positions = np.arange(self.size, dtype=np.int64)
        first, at = self._table[:, : self._used]
        run = np.searchsorted(at, positions, side="right") - 1
        found: NDArray[np.int64] = first[run] + positions - at[run]
        return found

    def positions(self, ids: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """The position of each id, and whether it is here; the position of one that is not means nothing."""
        ids = np.asarray(ids, dtype=np.int64)
        if not self.size:
            return np.zeros(len(ids), dtype=np.int64), np.zeros(len(ids), dtype=np.bool_)
        first, at = self._table[:, : self._used]
        run = np.searchsorted(first, ids, side="right") - 1
        position = at[run] + ids - first[run]
        end = np.where(run + 1 < self._used, at[np.minimum(run + 1, self._used - 1)], self.size)
        return position, (run >= 0) & (position < end)
