"""Arms on live traffic: which one answers the next request, chosen by what is known, and written down with its chance.

A log is a file of lines, appended to and never changed::

    {"decision": "7f…", "time": …, "arm": "b", "propensity": 0.62, "strategy": "thompson", "arms": ["a", "b"]}
    {"reward": "7f…", "value": 1.0}

A decision is on the disk before its arm is used, so that a crash loses no decision; one whose reward never comes counts
as chosen and not as rewarded. The propensity is the exact probability with which the arm was drawn: with it, any other
policy can be judged from the log afterwards (Horvitz & Thompson 1952; Bottou et al. 2013).
"""

from __future__ import annotations

import json
import secrets
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
from filelock import FileLock
from numpy.typing import NDArray

from llmkit.errors import DataError, unknown
from llmkit.evaluation.runs.run_folder import append_line
from llmkit.extras import optional

_GRID = 2001  # points of the integral


class Policy(Protocol):
    """Chances of the arms, from the rewards so far."""

    name: str

    def chances(self, sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Probability of each arm, summing to 1; sums (k,) of rewards in [0, 1] and counts (k,) of them."""
        ...


@dataclass(frozen=True)
class Thompson:
    """Each arm as often as it is believed to be the best: Beta(1 + sum, 1 + n - sum) each (Thompson 1933)."""

    floor: float = 0.01
    """Least chance of an arm: what is never chosen can never be judged."""
    name: str = "thompson"

    def chances(self, sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """The integral of each arm's density times the others' distribution functions."""
        with optional():
            from scipy.stats import beta

        x = np.linspace(0, 1, _GRID)[:, None]
        below = beta.cdf(x, 1 + sums, 1 + counts - sums)
        middle = (below[1:] + below[:-1]) / 2
        others = np.stack([np.delete(middle, n, axis=1).prod(axis=1) for n in range(len(sums))], axis=1)
        best = (np.diff(below, axis=0) * others).sum(axis=0)
        return _floored(best / best.sum(), self.floor)


@dataclass(frozen=True)
class Greedy:
    """The arm with the best mean, and with probability ε any of them (Sutton & Barto 2018, section 2.2)."""

    epsilon: float = 0.1
    """Share of the requests that explore."""
    name: str = "epsilon-greedy"

    def chances(self, sums: NDArray[np.float64], counts: NDArray[np.int64]) -> NDArray[np.float64]:
        """Arms without a reward yet come first; equal ones share."""
        means = np.where(counts > 0, sums / np.maximum(counts, 1), np.inf)
        best = means == means.max()
        chances: NDArray[np.float64] = self.epsilon / len(sums) + (1 - self.epsilon) * best / best.sum()
        return chances


@dataclass(frozen=True, slots=True)
class Choice:
    """One decision."""

    id: str
    """Names it when its reward comes."""
    arm: str
    propensity: float
    """Probability with which this arm was drawn."""


class Traffic:
    """Chooses arms for requests and learns from rewards; any number of processes may share one log."""

    def __init__(
        self, arms: Sequence[str], log: str | Path, policy: Policy | None = None, seed: int | None = None
    ) -> None:
        """Open the log, or begin one.

        Args:
            arms: names, two or more, each once.
            log: the file.
            policy: how chances follow from rewards; none: Thompson.
            seed: of the draws; none: another one each time.

        Raises:
            DataError: fewer than two arms, or a log that cannot be read.
        """
        if len(set(arms)) != len(arms) or len(arms) < 2:
            raise DataError(f"traffic needs two arms or more, each once: {', '.join(arms)}")
        self.arms, self.log, self.policy = tuple(arms), Path(log), policy or Thompson()
        self._chance = np.random.default_rng(seed)
        self._lock = FileLock(f"{self.log}.lock")
        self._read = 0
        self._waiting: dict[str, str] = {}
        self.sums: NDArray[np.float64] = np.zeros(len(arms))
        """Rewards of each arm."""
        self.counts: NDArray[np.int64] = np.zeros(len(arms), dtype=np.int64)
        """Rewarded decisions of each arm."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        with self._lock:
            self._catch_up()

    def choose(self) -> Choice:
        """An arm for the next request, written down before it is returned.

        Raises:
            DataError: the log cannot be written or read.
        """
        with self._lock:
            self._catch_up()
            chances = self.policy.chances(self.sums, self.counts)
            arm = int(self._chance.choice(len(self.arms), p=chances))
            choice = Choice(secrets.token_hex(8), self.arms[arm], float(chances[arm]))
            self._append({
                "decision": choice.id, "time": round(time.time(), 3), "arm": choice.arm,
                "propensity": choice.propensity, "strategy": self.policy.name, "arms": self.arms,
            })  # fmt: skip
        return choice

    def reward(self, decision: str, value: float) -> None:
        """What a decision was worth, in [0, 1]; once.

        Raises:
            DataError: a decision that is not in the log or has its reward, or a value that is none.
        """
        if not 0 <= value <= 1:
            raise DataError(f"a reward is a number from 0 to 1, not {value}")
        with self._lock:
            self._catch_up()
            if decision not in self._waiting:
                raise DataError(f"{self.log} has no decision {decision} that waits for its reward")
            self._append({"reward": decision, "value": float(value)})

    @property
    def waiting(self) -> int:
        """Decisions without a reward."""
        return len(self._waiting)

    def _append(self, row: dict[str, Any]) -> None:
        append_line(self.log, json.dumps(row, ensure_ascii=False))
        self._catch_up()

    def _catch_up(self) -> None:
        """Read what this or another process has appended; half a line at the end is what a crash left."""
        if not self.log.exists():
            return
        with self.log.open("rb") as file:
            file.seek(self._read)
            for line in file:
                if not line.endswith(b"\n"):
                    return
                self._take(line)
                self._read += len(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            if "decision" in row:
                self._waiting[row["decision"]] = row["arm"]
                return
            arm = self._waiting.pop(row["reward"], None)
            if arm in self.arms:  # a reward of an arm that is no longer in play is no error
                self.sums[self.arms.index(arm)] += row["value"]
                self.counts[self.arms.index(arm)] += 1
        except (ValueError, KeyError, TypeError) as error:
            raise DataError(f"{self.log}, at byte {self._read}: not a line of this log: {error}") from error


def value_of(log: str | Path, arm: str) -> tuple[float, float, int]:
    """Mean reward of always choosing one arm, from what was logged while others were chosen too.

    Every reward of the arm is divided by its propensity (inverse propensity scoring), over all rewarded decisions.

    Returns:
        The estimate, its standard error, and how many rewarded decisions there are.

    Raises:
        DataError: an arm that was never in play, or fewer than two rewards.
    """
    decisions: dict[str, dict[str, Any]] = {}
    terms, known = [], set()
    for line in Path(log).read_text(encoding="utf-8").split("\n")[:-1]:
        row = json.loads(line)
        if "decision" in row:
            decisions[row["decision"]] = row
            known |= set(row["arms"])
        elif row["reward"] in decisions and arm in decisions[row["reward"]]["arms"]:
            made = decisions[row["reward"]]
            terms.append(row["value"] / made["propensity"] if made["arm"] == arm else 0.0)
    if arm not in known:
        raise DataError(f"{log}: {unknown('arm', arm, sorted(known))}")
    if len(terms) < 2:
        raise DataError(f"{log} has {len(terms)} rewards: too few to say")
    return float(np.mean(terms)), float(np.std(terms, ddof=1) / np.sqrt(len(terms))), len(terms)


def _floored(chances: NDArray[np.float64], floor: float) -> NDArray[np.float64]:
    """The chances, none below the floor."""
    least = min(floor, 1 / len(chances))
    found: NDArray[np.float64] = least + (1 - least * len(chances)) * chances
    return found
