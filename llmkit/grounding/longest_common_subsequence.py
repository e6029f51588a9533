"""The longest common subsequence of two word lists."""

from __future__ import annotations

from collections.abc import Sequence


def subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence."""
    row = [0] * (len(b) + 1)
    for one in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if one == other else max(above, row[j - 1])
            diagonal = above
    return row[-1]
