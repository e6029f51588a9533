"""Best-arm identification: arms on the same items, dropped when they are beaten (Even-Dar, Mannor & Mansour 2006).

All arms see the items in one random order. An arm is out when the evidence that another is better reaches (k - 1)/δ.
The best arm is then dropped with probability at most δ: only the k - 1 pairs that it is part of can put it out, and
each does with probability at most δ / (k - 1). The same evidence says that no arm is better than the leader by more
than ε, which is when a race may end.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from llmkit.experiments.evidence import Evidence, interval

Kind = Literal["winner", "tie", "undecided"]


@dataclass(frozen=True, slots=True)
class Decision:
    """How a race stands or ended."""

    kind: Kind
    """winner: `best` beats every other arm, or none is better by more than ε; tie: those left differ by at most ε."""
    best: int
    """The arm to take."""
    left: tuple[int, ...]
    """Arms that are not beaten, `best` among them."""
    calls: int
    """Scores that were asked for."""


class Race:
    """Scores as they come in, and what they have decided.

    Args of the constructor:
        arms: k, how many.
        items: N, how many each could see.
        epsilon: difference of means that does not matter, in the unit of the score.
        delta: probability with which the race may be wrong.
    """

    def __init__(self, arms: int, items: int, *, epsilon: float = 0.02, delta: float = 0.05) -> None:
        if arms < 2 or items < 1:
            raise ValueError(f"a race needs two arms and an item, not {arms} and {items}")
        self.arms, self.items, self.epsilon, self.delta = arms, items, epsilon, delta
        self.scores: NDArray[np.float64] = np.full((items, arms), np.nan)
        """NaN where an item was not seen, or could not be scored."""
        self.seen: NDArray[np.int64] = np.zeros(arms, dtype=np.int64)
        """How many items of the order each arm has seen."""
        self.out: dict[int, int] = {}
        """Beaten arms, and by whom."""
        self.withdrawn: set[int] = set()
        """Arms that were taken out for another reason than their scores."""
        self.calls = 0
        self._bar = math.log((arms - 1) / delta)
        self._better = Evidence((arms, arms), items)
        self._close = Evidence((arms, arms), items, -epsilon)
        self._pairs: NDArray[np.int64] = np.zeros((arms, arms), dtype=np.int64)
        """Items that entered the evidence of each pair."""

    @property
    def running(self) -> list[int]:
        """Arms that are still in."""
        return [arm for arm in range(self.arms) if arm not in self.out and arm not in self.withdrawn]

    def tell(self, arm: int, scores: NDArray[np.float64]) -> None:
        """The scores of an arm on its next items, in [0, 1]; NaN where an item could not be scored.

        Raises:
            ValueError: scores outside [0, 1], or more than there are items.
        """
        first, last = int(self.seen[arm]), int(self.seen[arm]) + len(scores)
        known = scores[~np.isnan(scores)]
        if last > self.items or (len(known) and (known.min() < 0 or known.max() > 1)):
            raise ValueError(
                f"arm {arm} was given {len(scores)} scores after {first} of {self.items}, or some not in [0, 1]"
            )
        self.scores[first:last, arm] = scores
        self.seen[arm] = last
        self.calls += len(scores)
        self._weigh()

    def withdraw(self, arm: int) -> None:
        """Take an arm out that cannot run."""
        self.withdrawn.add(arm)

    def _weigh(self) -> None:
        """Bring the evidence up to the items that both arms of a pair have seen, and drop who is beaten."""
        common = np.minimum.outer(self.seen, self.seen)
        np.fill_diagonal(common, 0)
        for item in range(int(self._pairs[common > self._pairs].min(initial=self.items)), int(common.max())):
            where = (self._pairs <= item) & (common > item)
            if not where.any():
                continue
            row = self.scores[item]
            differences = row[:, None] - row[None, :]
            known = np.isnan(row)
            # the least it can be: a missing score of the first arm is 0, of the second 1
            least = np.where(known[:, None], 0.0, row[:, None]) - np.where(known[None, :], 1.0, row[None, :])
            differences = np.where(np.isnan(differences), least, differences)
            self._better.see(differences, where)
            self._close.see(differences, where)
            self._pairs[where] = item + 1
            self._drop()

    def _drop(self) -> None:
        beaten = self._better.capital >= self._bar
        for arm in self.running:
            by = [other for other in range(self.arms) if beaten[other, arm] and other not in self.withdrawn]
            if by:
                self.out[arm] = max(by, key=lambda other: float(self._better.capital[other, arm]))

    def means(self) -> NDArray[np.float64]:
        """Mean score of each arm over what it has seen; NaN for an arm that was scored on nothing."""
        with np.errstate(invalid="ignore"):
            scored = ~np.isnan(self.scores)
            found: NDArray[np.float64] = np.nansum(self.scores, axis=0) / scored.sum(axis=0)
        return found

    def leader(self) -> int:
        """The running arm with the best mean over the items that all running arms have seen."""
        running = self.running
        shared = int(self.seen[running].min()) if running else 0
        if not running or not shared:
            return running[0] if running else 0
        scored = self.scores[:shared, running]
        means = np.nansum(scored, axis=0) / np.maximum((~np.isnan(scored)).sum(axis=0), 1)
        return running[int(np.argmax(means))]

    def difference(self, first: int, second: int, alpha: float | None = None) -> tuple[float, float, float]:
        """Mean difference of two arms over what both have seen, and where that over all items lies.

        Args:
            first: an arm.
            second: another one.
            alpha: chance of being wrong; none: what the race allows each pair.
        """
        shared = int(min(self.seen[first], self.seen[second]))
        row = self.scores[:shared, first] - self.scores[:shared, second]
        known = ~np.isnan(row)
        level = alpha or self.delta / (self.arms - 1)
        low = interval(np.where(known, row, -1.0), self.items, level)[0]
        high = interval(np.where(known, row, 1.0), self.items, level)[1]
        return (float(row[known].mean()) if known.any() else math.nan), low, high

    def doubt(self, first: int, second: int) -> float:
        """Evidence, as a logarithm, that `second` is not better than `first` by more than ε: low is doubtful."""
        return float(self._close.capital[first, second])

    def decision(self) -> Decision:
        """How it stands."""
        running = self.running
        if not running:
            return Decision("undecided", 0, (), self.calls)
        best = self.leader()
        others = [arm for arm in running if arm != best]
        if not others:
            return Decision("winner", best, (best,), self.calls)
        close = self._close.capital >= self._bar
        left = (best, *others)
        if not all(close[best, arm] for arm in others):
            return Decision("undecided", best, left, self.calls)
        tie = all(close[arm, best] for arm in others)
        return Decision("tie" if tie else "winner", best, left, self.calls)
