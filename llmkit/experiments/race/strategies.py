"""Which arms of a race see their next item."""

from __future__ import annotations

from typing import ClassVar, Protocol

import numpy as np
from pydantic import Field

from llmkit.experiments.race.race import Race
from llmkit.part import Part


class Strategy(Protocol):
    """Says which arms go on; whatever it says, the race's promise holds."""

    def next(self, race: Race, chance: np.random.Generator) -> list[int]:
        """Arms that see their next block of items; none where nobody that goes on has items left."""
        ...


class Grid(Part):
    """Every arm sees every item, beaten or not."""

    family: ClassVar[str] = "strategy"
    type: ClassVar[str] = "grid"

    def next(self, race: Race, chance: np.random.Generator) -> list[int]:
        """Everyone that has seen least."""
        return least_seen(race, [arm for arm in range(race.arms) if arm not in race.withdrawn])


class SuccessiveElimination(Part):
    """The leader and all arms that may be better by more than ε, side by side (after Even-Dar, Mannor & Mansour 2006).

    An arm that is known not to be better by more than ε rests; it goes on, from where it was, if another arm leads.
    """

    family: ClassVar[str] = "strategy"
    type: ClassVar[str] = "successive"

    def next(self, race: Race, chance: np.random.Generator) -> list[int]:
        """Of those that are open, who has seen least."""
        best = race.leader()
        return least_seen(race, [best, *race.rivals_of(best)])


class LUCB(Part):
    """The leader and the arm that it is least sure to be no worse than (after LUCB, Kalyanakrishnan et al. 2012)."""

    family: ClassVar[str] = "strategy"
    type: ClassVar[str] = "lucb"

    start: int = Field(default=8, ge=1)
    """Items that every arm sees first."""

    def next(self, race: Race, chance: np.random.Generator) -> list[int]:
        """Of the leader and its strongest challenger, who is behind."""
        fresh = [arm for arm in race.running if race.seen[arm] < min(self.start, race.items)]
        if fresh:
            return fresh
        best = race.leader()
        for rival in sorted(race.rivals_of(best), key=lambda arm: race.doubt(best, arm)):
            if going := least_seen(race, [best, rival]):
                return going
        return []


class TopTwoThompson(Part):
    """Draws a best arm from what is believed, then another one that differs (Russo 2016)."""

    family: ClassVar[str] = "strategy"
    type: ClassVar[str] = "thompson"

    start: int = Field(default=8, ge=1)
    """Items that every arm sees first."""
    swap: float = Field(default=0.5, ge=0, le=1)
    """How often the second best is tried instead of the best."""

    def next(self, race: Race, chance: np.random.Generator) -> list[int]:
        """The arm drawn, and whoever of the leader and it is behind."""
        fresh = [arm for arm in race.running if race.seen[arm] < min(self.start, race.items)]
        if fresh:
            return fresh
        drawn = draw_best(race, race.running, chance)
        if chance.random() < self.swap:
            for _ in range(100):
                other = draw_best(race, race.running, chance)
                if other != drawn:
                    drawn = other
                    break
        return least_seen(race, [race.leader(), drawn]) or least_seen(race, race.running)


class EpsilonGreedy(Part):
    """The leader, and now and then any other (Sutton & Barto 2018, section 2.2)."""

    family: ClassVar[str] = "strategy"
    type: ClassVar[str] = "epsilon-greedy"

    explore: float = Field(default=0.2, gt=0, le=1)
    """How often any arm is tried instead of the leader."""

    def next(self, race: Race, chance: np.random.Generator) -> list[int]:
        """One arm."""
        open_ = [arm for arm in race.running if race.seen[arm] < race.items]
        if not open_:
            return []
        best = race.leader()
        if best in open_ and chance.random() >= self.explore:
            return [best]
        return [open_[int(chance.integers(len(open_)))]]


def least_seen(race: Race, arms: list[int]) -> list[int]:
    """Of these arms, those that have seen least and have items left."""
    open_ = [arm for arm in arms if race.seen[arm] < race.items]
    if not open_:
        return []
    least = min(int(race.seen[arm]) for arm in open_)
    return [arm for arm in open_ if race.seen[arm] == least]


def draw_best(race: Race, arms: list[int], chance: np.random.Generator) -> int:
    """The best of one draw of every arm's mean, from Beta(1 + sum, 1 + n - sum) (Thompson 1933)."""
    scored = ~np.isnan(race.scores[:, arms])
    sums, counts = np.nansum(race.scores[:, arms], axis=0), scored.sum(axis=0)
    return arms[int(np.argmax(chance.beta(1 + sums, 1 + counts - sums)))]
