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

from llmkit.experiments.race.evidence import Evidence, interval

Kind = Literal["winner", "tie", "undecided"]


@dataclass(frozen=True, slots=True)
class Decision:
    """The decision of a race, or its state before there is one."""

    kind: Kind
    """winner: `best` beats every other arm, or none is better by more than ε; tie: those left differ by at most ε."""
    best: int
    """The best arm."""
    left: tuple[int, ...]
    """Arms that are not beaten, `best` among them."""
    calls: int
    """How many scores were asked for."""


class Race:
    """The scores of all arms so far, and the decision that they allow.

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
        self.withdrawn: set[int] = set()
        """Arms that left for another reason than their scores."""
        self.calls = 0
        self._bar = math.log((arms - 1) / delta)
        self._better = Evidence((arms, arms), items)
        self._close = Evidence((arms, arms), items, -epsilon)
        self._pairs: NDArray[np.int64] = np.zeros((arms, arms), dtype=np.int64)
        """Items that entered the evidence of each pair."""

    @property
    def out(self) -> dict[int, int]:
        """Beaten arms, and by whom: the leader, where the evidence for the leader suffices.

        An arm that was withdrawn beats nobody, so that whoever only it had beaten is in again.
        """
        self._weigh()
        beaten = self._better.peak >= self._bar
        beaten[list(self.withdrawn)] = False
        out = {}
        for arm in range(self.arms):
            if arm not in self.withdrawn and beaten[:, arm].any():
                evidence = np.where(beaten[:, arm], self._better.peak[:, arm], -np.inf)
                out[arm] = int(np.argmax(evidence))
        leader = self._leader([arm for arm in range(self.arms) if arm not in out and arm not in self.withdrawn])
        return {arm: leader if beaten[leader, arm] else by for arm, by in out.items()}

    @property
    def running(self) -> list[int]:
        """Arms that are still in."""
        out = self.out
        return [arm for arm in range(self.arms) if arm not in out and arm not in self.withdrawn]

    def add_scores(self, arm: int, scores: NDArray[np.float64]) -> None:
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

    def withdraw(self, arm: int) -> None:
        """Take out an arm that cannot run or has too few scores."""
        self.withdrawn.add(arm)

    def _weigh(self) -> None:
        """Bring the evidence up to the items that both arms of a pair have seen."""
        common = np.minimum.outer(self.seen, self.seen)
        np.fill_diagonal(common, 0)
        fresh = common > self._pairs
        if not fresh.any():
            return
        first, last = self._pairs[fresh], common[fresh]
        for begin, end in set(zip(first.tolist(), last.tolist(), strict=True)):
            where = fresh & (self._pairs == begin) & (common == end)
            rows = self.scores[begin:end]
            missing = np.isnan(rows)
            # the least it can be: a missing score of the first arm is 0, of the second 1
            least = np.where(missing, 0.0, rows)[:, :, None] - np.where(missing, 1.0, rows)[:, None, :]
            self._better.see(least[:, where], where)
            self._close.see(least[:, where], where)
        self._pairs[fresh] = last

    def means(self) -> NDArray[np.float64]:
        """Mean score of each arm over the items it was scored on; NaN where there is none. Shape (arms,)."""
        with np.errstate(invalid="ignore"):
            scored = ~np.isnan(self.scores)
            found: NDArray[np.float64] = np.nansum(self.scores, axis=0) / scored.sum(axis=0)
        return found

    def leader(self) -> int:
        """The running arm whose largest deficit to any other is smallest; a pair counts the items both have seen."""
        return self._leader(self.running)

    def _leader(self, running: list[int]) -> int:
        if len(running) < 2:
            return running[0] if running else 0
        ahead = self._better.mean[np.ix_(running, running)]
        np.fill_diagonal(ahead, np.inf)
        return running[int(np.argmax(ahead.min(axis=1)))]

    def rivals_of(self, best: int) -> list[int]:
        """Running arms that may still be better than `best` by more than ε."""
        close = self._close.peak[best] >= self._bar
        return [arm for arm in self.running if arm != best and not close[arm]]

    def missing(self, arm: int) -> int:
        """Items that the arm has seen without a score."""
        return int(np.isnan(self.scores[: self.seen[arm], arm]).sum())

    def difference(self, first: int, second: int) -> tuple[float, float, float]:
        """Mean difference of two arms over the items both have seen, and an interval of that over all items.

        Each end of the interval rests on the evidence by which arms are beaten: it lies above 0 exactly where `first`
        beats `second`. Each end is wrong with probability at most δ / (k - 1). A missing score counts as the worst.
        """
        shared = int(min(self.seen[first], self.seen[second]))
        one, other = self.scores[:shared, first], self.scores[:shared, second]
        known = ~(np.isnan(one) | np.isnan(other))
        level = 2 * self.delta / (self.arms - 1)
        low = interval(np.nan_to_num(one, nan=0.0) - np.nan_to_num(other, nan=1.0), self.items, level)[0]
        high = interval(np.nan_to_num(one, nan=1.0) - np.nan_to_num(other, nan=0.0), self.items, level)[1]
        return (float((one - other)[known].mean()) if known.any() else math.nan), low, high

    def doubt(self, first: int, second: int) -> float:
        """Evidence, as a logarithm, that `second` is not better than `first` by more than ε: low is doubtful."""
        self._weigh()
        return float(self._close.peak[first, second])

    def decision(self) -> Decision:
        """The decision so far."""
        running = self.running
        if not running:
            return Decision("undecided", 0, (), self.calls)
        best = self.leader()
        others = [arm for arm in running if arm != best]
        if not others:
            return Decision("winner", best, (best,), self.calls)
        left = (best, *others)
        if self.rivals_of(best):
            return Decision("undecided", best, left, self.calls)
        tie = (self._close.peak[others, best] >= self._bar).all()
        return Decision("tie" if tie else "winner", best, left, self.calls)
