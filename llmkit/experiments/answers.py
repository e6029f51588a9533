"""Scores of arms on samples, what they cost, and whether the budget still allows more."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from llmkit.errors import DataError, LlmkitError
from llmkit.evaluation.runs.plan import Plan
from llmkit.evaluation.runs.run import evaluate
from llmkit.evaluation.runs.run_folder import RunFolder, write_json
from llmkit.evaluation.runs.summary import summarise

if TYPE_CHECKING:
    from llmkit.experiments.experiment import Budget

_ALIKE = 5  # an arm that has failed this often and never succeeded is withdrawn
_ENOUGH = 8  # samples after which an arm that is mostly unscored is withdrawn


@dataclass
class Spent:
    """What was used in this session."""

    calls: int = 0
    tokens: int = 0
    money: float = 0.0
    unpriced: int = 0
    """Answers of models that have no price."""
    seconds: float = 0.0
    known: int = 0
    """Answers that were there from before, and cost nothing."""


class Unfit(LlmkitError):
    """The figure cannot be raced on."""


class Answers:
    """Scores of an arm on samples, from its run folder where they are there."""

    def __init__(
        self,
        plans: Sequence[Plan],
        figure: str,
        spent: Spent,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.plans, self.figure, self.spent, self.workers, self.clock = plans, figure, spent, workers, clock
        self.folders: dict[int, RunFolder] = {}
        self.seen: dict[int, int] = {}
        self.failed: dict[int, int] = {}
        self.unscored: dict[int, int] = {}
        self.applies: dict[str, bool] = {}
        """Whether the figure says anything of a sample; it must be the same for every arm."""

    def of(self, arm: int, ids: Sequence[str]) -> NDArray[np.float64]:
        """(ids,) scores in [0, 1]; NaN where the sample failed or could not be scored.

        Raises:
            DataError: an arm that always fails, or more often than its task allows, or is hardly ever scored.
            Unfit: the figure depends on what an arm answers.
        """
        planned, began = self.plans[arm], self.clock()
        if arm not in self.folders:  # what is there may have been scored by other metrics: then it is scored anew
            self.folders[arm] = evaluate(planned, only=())
        folder = self.folders[arm]
        wanted = set(ids)
        before = {row["id"] for row in folder.scores() if row["status"] == "ok"} & wanted
        self.spent.known += len(before)
        if len(before) < len(ids):
            evaluate(planned, workers=self.workers, only=wanted)
        rows = {row["id"]: row for row in folder.scores() if row["id"] in wanted}
        for name in ids:
            if name not in before:
                self._spend(rows[name])
        self.spent.seconds += self.clock() - began
        self._count(arm, [rows[name] for name in ids])
        return np.array([self._score(rows[name]) for name in ids])

    def summarise(self) -> None:
        """Sum up every arm that was asked, so that its folder reads like any run's."""
        for arm, folder in self.folders.items():
            path = folder.path / "summary.json"
            if not path.exists() and any(True for _ in folder.scores()):
                write_json(path, summarise(folder, self.plans[arm].task))

    @property
    def silent(self) -> int:
        """Samples of which the figure says nothing, for any arm: they change no difference."""
        return sum(not applies for applies in self.applies.values())

    def _score(self, row: dict[str, Any]) -> float:
        figure = self.figure
        if row["status"] != "ok" or figure in row["unscored"]:
            return math.nan
        applies = figure in row["scores"]
        if self.applies.setdefault(row["id"], applies) != applies:
            raise Unfit(
                f"the figure {figure} says something of sample {row['id']} for one arm and nothing for another: it "
                "depends on what was answered and cannot decide a race"
            )
        if len(self.applies) >= _ENOUGH and not any(self.applies.values()):
            raise Unfit(f"the figure {figure} says nothing of any of the first {len(self.applies)} samples")
        return float(row["scores"][figure]) if applies else 0.5  # the same for every arm: no difference

    def _count(self, arm: int, rows: Sequence[dict[str, Any]]) -> None:
        """Withdraw an arm that always fails, or more often than the task allows, or is never scored."""
        errors = [row["error"] for row in rows if row["status"] != "ok"]
        reasons = [row["unscored"][self.figure] for row in rows if self.figure in row.get("unscored", {})]
        self.seen[arm] = self.seen.get(arm, 0) + len(rows)
        self.failed[arm] = self.failed.get(arm, 0) + len(errors)
        self.unscored[arm] = self.unscored.get(arm, 0) + len(reasons)
        planned, seen = self.plans[arm], self.seen[arm]
        always = self.failed[arm] == seen >= _ALIKE
        if errors and (always or self.failed[arm] > planned.task.fail_on_error * planned.samples):
            raise DataError(f"{self.failed[arm]} of {seen} samples failed, the last: {errors[-1]}")
        if reasons and seen >= _ENOUGH and self.unscored[arm] > seen / 2:
            raise DataError(
                f"{self.figure} could not be scored on {self.unscored[arm]} of {seen} samples: {reasons[-1]}"
            )

    def _spend(self, row: dict[str, Any]) -> None:
        spent = self.spent
        if row.get("calls") and row["cached"] >= row["calls"]:
            spent.known += 1  # another arm's model was asked the same before
            return
        spent.calls += 1
        spent.tokens += row.get("input_tokens", 0) + row.get("output_tokens", 0)
        if row.get("cost") is None:
            spent.unpriced += bool(row.get("calls"))
        else:
            spent.money += row["cost"]


def used_up(budget: Budget, spent: Spent, share: float = 1.0) -> str:
    """Which part of the budget has run out, in words; empty while there is some left.

    Args:
        budget: the limits.
        spent: so far.
        share: of the limits, that may be used by now.
    """
    used = {"calls": spent.calls, "tokens": spent.tokens, "money": spent.money, "minutes": spent.seconds / 60}
    if budget.money is not None and spent.unpriced:
        return f"the budget is in money, and {spent.unpriced} answers have no price: give the task prices"
    for name, limit in budget:
        if limit is not None and used[name] >= limit * share:
            part = "" if share >= 1 else f", as far as it may be by now ({share:.0%})"
            return f"the budget of {limit:g} {name} is used up{part}"
    return ""
