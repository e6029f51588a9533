"""Scores of arms on samples, what they cost, and whether the budget allows more."""

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

_ALWAYS = 5  # samples after which an arm that has failed on every one is withdrawn
_ENOUGH = 8  # samples from which the share of missing scores is looked at


@dataclass
class Spending:
    """What this session has used."""

    calls: int = 0
    tokens: int = 0
    money: float = 0.0
    unpriced: int = 0
    """Answers whose model has no price in the task."""
    seconds: float = 0.0
    known: int = 0
    """Answers from earlier sessions, which cost nothing."""


class UnsuitableFigure(LlmkitError):
    """No race can be run on the figure."""


@dataclass
class _Missing:
    """Samples of one arm that have no score."""

    seen: int = 0
    errors: int = 0
    unscored: int = 0
    last: str = ""
    """Why the last one has no score."""


class Answers:
    """Scores of arms on samples: read from an arm's run folder, or asked for."""

    def __init__(
        self,
        plans: Sequence[Plan],
        figure: str,
        spent: Spending,
        workers: int = 1,
        clock: Callable[[], float] = time.monotonic,
        *,
        max_missing: float = 0.25,
    ) -> None:
        """Ask nothing yet.

        Args:
            plans: one for each arm.
            figure: whose scores are wanted.
            spent: what is used is added to it.
            workers: samples at a time.
            clock: monotonic seconds.
            max_missing: share of an arm's samples that may fail or stay unscored.
        """
        self.plans, self.figure, self.spent, self.workers, self.clock = plans, figure, spent, workers, clock
        self.max_missing = max_missing
        self.folders: dict[int, RunFolder] = {}
        self.missing: dict[int, _Missing] = {}
        self.applies: dict[str, bool] = {}
        """By sample, whether the figure applies to it; this must be the same for every arm."""

    def of(self, arm: int, ids: Sequence[str]) -> NDArray[np.float64]:
        """(ids,) scores in [0, 1]; NaN where the sample failed or could not be scored.

        Raises:
            DataError: an arm that always fails, fails more often than its task allows, or has too few scores.
            UnsuitableFigure: the figure depends on what an arm answers.
        """
        planned, began = self.plans[arm], self.clock()
        if arm not in self.folders:  # scores of other metrics are made anew from the traces
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
        """Write the summary of every arm that was asked, as of any other run."""
        for arm, folder in self.folders.items():
            path = folder.path / "summary.json"
            if not path.exists() and any(True for _ in folder.scores()):
                write_json(path, summarise(folder, self.plans[arm].task))

    @property
    def silent(self) -> int:
        """Samples to which the figure does not apply, for any arm: they change no difference."""
        return sum(not applies for applies in self.applies.values())

    def _score(self, row: dict[str, Any]) -> float:
        figure = self.figure
        if row["status"] != "ok" or figure in row["unscored"]:
            return math.nan
        applies = figure in row["scores"]
        if self.applies.setdefault(row["id"], applies) != applies:
            raise UnsuitableFigure(
                f"the figure {figure} says something of sample {row['id']} for one arm and nothing for another: it "
                "depends on what was answered and cannot decide a race"
            )
        if len(self.applies) >= _ENOUGH and not any(self.applies.values()):
            raise UnsuitableFigure(f"the figure {figure} says nothing of any of the first {len(self.applies)} samples")
        return float(row["scores"][figure]) if applies else 0.5  # the same for every arm: no difference

    def _count(self, arm: int, rows: Sequence[dict[str, Any]]) -> None:
        """Count what has no score; an arm with too much of it cannot be compared.

        Raises:
            DataError: the arm is to be withdrawn; the message says why.
        """
        missing, planned = self.missing.setdefault(arm, _Missing()), self.plans[arm]
        missing.seen += len(rows)
        for row in rows:
            if row["status"] != "ok":
                missing.errors, missing.last = missing.errors + 1, row["error"]
            elif self.figure in row["unscored"]:
                missing.unscored, missing.last = missing.unscored + 1, row["unscored"][self.figure]
        seen, without = missing.seen, missing.errors + missing.unscored
        if missing.errors == seen >= _ALWAYS or missing.errors > planned.task.fail_on_error * planned.samples:
            raise DataError(f"{missing.errors} of {seen} samples failed, the last: {missing.last}")
        if seen >= _ENOUGH and without > self.max_missing * seen:
            raise DataError(
                f"{without} of {seen} samples have no {self.figure} ({missing.errors} failed, {missing.unscored} "
                f"unscored), more than max_missing: {self.max_missing:g} allows; the last: {missing.last}"
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


def exhausted_budget(budget: Budget, spent: Spending, share: float = 1.0) -> str:
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
