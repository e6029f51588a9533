"""One bit a row: which rows a search may find."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


class Bitmap:
    """Bits in the order FAISS reads them. Growing costs what is added, clearing what is cleared."""

    def __init__(self) -> None:
        self._bytes: NDArray[np.uint8] = np.zeros(64, dtype=np.uint8)
        self.size = 0
        self.count = 0
        """How many bits are set."""

    @classmethod
    def of(cls, positions: NDArray[np.int64], size: int) -> Bitmap:
        """A bitmap with these bits set; positions without repeats."""
        flags = np.zeros(size, dtype=np.bool_)
        flags[positions] = True
        made = cls()
        made._bytes, made.size, made.count = np.packbits(flags, bitorder="little"), size, len(positions)
        return made

    def copy(self) -> Bitmap:
        """A bitmap of its own with the same bits."""
        made = Bitmap()
        made._bytes, made.size, made.count = self._bytes.copy(), self.size, self.count
        return made

    def extend(self, rows: int) -> None:
        """Add bits that are set."""
        end = self.size + rows
        if end > 8 * len(self._bytes):
            wider = np.zeros(max(2 * len(self._bytes), (end + 7) // 8), dtype=np.uint8)
            wider[: len(self._bytes)] = self._bytes
            self._bytes = wider
        whole = min(end, (self.size + 7) // 8 * 8)  # up to the next byte one by one, then byte by byte
        self._bytes[(whole + 7) // 8 : (end + 7) // 8] = 0xFF
        for at in range(self.size, whole):
            self._bytes[at >> 3] |= 1 << (at & 7)
        if end % 8:
            self._bytes[end >> 3] &= (1 << (end & 7)) - 1
        self.size, self.count = end, self.count + rows

    def clear(self, positions: NDArray[np.int64]) -> None:
        """Unset these bits; those that are unset already stay so."""
        positions = np.unique(positions)
        set_now = positions[self.test(positions)]
        np.bitwise_and.at(self._bytes, set_now >> 3, ~(1 << (set_now & 7)).astype(np.uint8))
        self.count -= len(set_now)

    def test(self, positions: NDArray[np.int64]) -> NDArray[np.bool_]:
        """Whether each of these bits is set."""
        found: NDArray[np.bool_] = (self._bytes[positions >> 3] >> (positions & 7).astype(np.uint8) & 1) == 1
        return found

    def positions(self, first: int = 0, last: int | None = None) -> NDArray[np.int64]:
        """The bits that are set from `first`, a multiple of eight, up to before `last`; ascending."""
        last = max(first, self.size if last is None else min(last, self.size))
        flags = np.unpackbits(self._bytes[first // 8 : (last + 7) // 8], count=last - first, bitorder="little")
        return np.flatnonzero(flags) + first

    @property
    def full(self) -> bool:
        """Whether every bit is set."""
        return self.count == self.size

    @property
    def packed(self) -> NDArray[np.uint8]:
        """The bytes, as they are."""
        return self._bytes[: (self.size + 7) // 8]
