"""Running an experiment: blocks of samples for the arms that a strategy names, until the race is decided.

Every arm has a run folder of its own, the same that `llmkit eval` would make: what is there already costs nothing, what
was interrupted goes on, and a finished arm is a finished run.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from llmkit.errors import DataError, LlmkitError
from llmkit.evaluation.folder import RunFolder, write_json
from llmkit.evaluation.identity import digest
from llmkit.evaluation.plan import Plan, plan
from llmkit.evaluation.run import evaluate
from llmkit.evaluation.task import chosen
from llmkit.experiments.evidence import least_items
from llmkit.experiments.experiment import Arm, Experiment, arms_of, task_of
from llmkit.experiments.race import Decision, Race

_ALIKE = 5  # an arm that has failed this often and never succeeded is withdrawn


@dataclass
class Spent:
    """What was used in this session."""

    calls: int = 0
    tokens: int = 0
    money: float = 0.0
    unpriced: int = 0
    """Answers of models that have no price."""
    seconds: float = 0.0


@dataclass
class Standing:
    """An experiment, as far as it is."""

    experiment: Experiment
    arms: list[Arm]
    plans: list[Plan]
    race: Race
    figure: str
    path: Path
    """Folder of the experiment."""
    spent: Spent = field(default_factory=Spent)
    known: int = 0
    """Answers that were there from before."""
    why: dict[int, str] = field(default_factory=dict)
    """Of withdrawn arms."""
    stopped: str = ""
    """What ended it, where that was not a decision."""
    history: list[tuple[int, int, float]] = field(default_factory=list)
    """(arm, samples seen, mean so far), in the order it happened."""

    @property
    def least(self) -> int:
        """Calls without which no pair of arms can be told apart, even if one is always right and the others wrong."""
        return len(self.arms) * least_items(self.race.items, self.race.delta / (self.race.arms - 1))

    def decision(self) -> Decision:
        """How it stands."""
        return self.race.decision()


Listener = Callable[[Standing], None]


def prepare(experiment: Experiment, runs: Path, note: Callable[[str], None] = lambda _: None) -> Standing:
    """Check everything and make the knowledge bases; nothing is asked yet.

    Raises:
        ConfigError: arms, task or figure are wrong.
        DataError: the budget is too small to decide anything.
    """
    task, arms = task_of(experiment), arms_of(experiment)
    plans = [plan(arm.pipeline, task, runs, note=note) for arm in arms]
    items = plans[0].samples
    race = Race(len(arms), items, epsilon=experiment.epsilon, delta=experiment.delta)
    shapes = {"experiment": experiment.config(), "runs": [one.run["digest"] for one in plans]}
    path = runs / "experiments" / f"{experiment.name}-{digest(shapes)[:8]}"
    standing = Standing(experiment, arms, plans, race, experiment.figure or task.decides, path)
    if experiment.budget.calls is not None and experiment.budget.calls < standing.least:
        raise DataError(
            f"a budget of {experiment.budget.calls} calls decides nothing: {len(arms)} arms need at least "
            f"{standing.least}, {standing.least // len(arms)} samples each, even if one is always right and the others "
            "never"
        )
    return standing


def run(
    standing: Standing,
    *,
    workers: int = 1,
    on_step: Listener = lambda _: None,
    clock: Callable[[], float] = time.monotonic,
) -> Decision:
    """Go on until the race is decided, the samples are used up, or the budget is.

    Raises:
        DataError: no arm can run, the disk is full, or the figure depends on what an arm answers.
        Cancelled: interrupted; every finished answer is kept and found again.
    """
    experiment, race = standing.experiment, standing.race
    order = [sample.id for sample in chosen(standing.plans[0].task, standing.plans[0].selection)]
    random.Random(experiment.seed).shuffle(order)  # noqa: S311
    chance = np.random.default_rng(experiment.seed)
    answers = _Answers(standing, workers)
    began = clock()
    whole = experiment.strategy.type == "grid"  # type: ignore[attr-defined]
    while whole or race.decision().kind == "undecided":
        standing.spent.seconds = clock() - began
        standing.stopped = _used_up(standing)
        going = [] if standing.stopped else experiment.strategy.next(race, chance)
        if not going:
            break
        for arm in going:
            ids = order[race.seen[arm] : race.seen[arm] + experiment.block]
            _step(standing, answers, arm, ids)
        on_step(standing)
    if not race.running:
        told = "; ".join(f"{standing.arms[arm].name}: {why}" for arm, why in standing.why.items())
        raise DataError(f"no arm can run: {told}")
    decision = race.decision()
    _write(standing, decision)
    return decision


def _step(standing: Standing, answers: _Answers, arm: int, ids: Sequence[str]) -> None:
    """One block of samples for one arm; an arm that cannot run is withdrawn, with the reason."""
    race = standing.race
    try:
        race.tell(arm, answers.of(arm, ids))
    except LlmkitError as error:
        if isinstance(error, _Unfit):
            raise DataError(str(error)) from error
        race.withdraw(arm)
        standing.why[arm] = str(error)
        return
    standing.history.append((arm, int(race.seen[arm]), float(race.means()[arm])))


class _Unfit(LlmkitError):
    """The figure cannot be raced on."""


class _Answers:
    """Scores of an arm on samples, from its run folder where they are there."""

    def __init__(self, standing: Standing, workers: int) -> None:
        self.standing, self.workers = standing, workers
        self.folders: dict[int, RunFolder] = {}
        self.failed: dict[int, int] = {}
        self.applies: dict[str, bool] = {}
        """Whether the figure says anything of a sample; it must be the same for every arm."""

    def of(self, arm: int, ids: Sequence[str]) -> np.ndarray[Any, np.dtype[np.float64]]:
        """(ids,) scores in [0, 1]; NaN where the sample failed or could not be scored."""
        planned = self.standing.plans[arm]
        folder = self.folders.setdefault(arm, planned.folder())
        before = {row["id"] for row in folder.scores() if row["status"] == "ok"} & set(ids)
        self.standing.known += len(before)
        if len(before) < len(ids):
            evaluate(planned, workers=self.workers, only=set(ids))
        rows = {row["id"]: row for row in folder.scores() if row["id"] in set(ids)}
        for name in ids:
            if name not in before:
                self._spend(rows[name])
        self._count(arm, [rows[name] for name in ids])
        return np.array([self._score(rows[name]) for name in ids])

    def _score(self, row: dict[str, Any]) -> float:
        figure = self.standing.figure
        if row["status"] != "ok" or figure in row["unscored"]:
            return math.nan
        applies = figure in row["scores"]
        if self.applies.setdefault(row["id"], applies) != applies:
            raise _Unfit(
                f"the figure {figure} says something of sample {row['id']} for one arm and nothing for another: it "
                "depends on what was answered and cannot decide a race"
            )
        return float(row["scores"][figure]) if applies else 0.5  # the same for every arm: no difference

    def _count(self, arm: int, rows: Sequence[dict[str, Any]]) -> None:
        """Withdraw an arm that always fails, or more often than the task allows."""
        errors = [row["error"] for row in rows if row["status"] != "ok"]
        self.failed[arm] = self.failed.get(arm, 0) + len(errors)
        seen = int(self.standing.race.seen[arm]) + len(rows)
        planned = self.standing.plans[arm]
        always = self.failed[arm] == seen >= _ALIKE
        if errors and (always or self.failed[arm] > planned.task.fail_on_error * planned.samples):
            raise DataError(f"{self.failed[arm]} of {seen} samples failed, the last: {errors[-1]}")

    def _spend(self, row: dict[str, Any]) -> None:
        spent = self.standing.spent
        spent.calls += 1
        spent.tokens += row.get("input_tokens", 0) + row.get("output_tokens", 0)
        if row.get("cost") is None:
            spent.unpriced += bool(row.get("calls"))
        else:
            spent.money += row["cost"]


def _used_up(standing: Standing) -> str:
    budget, spent = standing.experiment.budget, standing.spent
    used = {"calls": spent.calls, "tokens": spent.tokens, "money": spent.money, "minutes": spent.seconds / 60}
    if budget.money is not None and spent.unpriced:
        return f"the budget is in money, and {spent.unpriced} answers have no price: give the task prices"
    for name, limit in budget:
        if limit is not None and used[name] >= limit:
            return f"the budget of {limit:g} {name} is used up"
    return ""


def _write(standing: Standing, decision: Decision) -> None:
    standing.path.mkdir(parents=True, exist_ok=True)
    write_json(standing.path / "decision.json", as_json(standing, decision))
    lines = [json.dumps({"arm": standing.arms[arm].name, "seen": n, "mean": mean}) for arm, n, mean in standing.history]
    (standing.path / "path.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def as_json(standing: Standing, decision: Decision) -> dict[str, Any]:
    """The decision and how it was reached, as plain values."""
    race = standing.race
    means = race.means()
    return {
        "experiment": standing.experiment.config(),
        "figure": standing.figure,
        "kind": decision.kind,
        "best": standing.arms[decision.best].name,
        "left": [standing.arms[arm].name for arm in decision.left],
        "calls": decision.calls,
        "grid": race.items * race.arms,
        "spent": asdict(standing.spent),
        "known": standing.known,
        "stopped": standing.stopped,
        "arms": [
            {
                "name": arm.name,
                "values": arm.values,
                "run": str(planned.path),
                "seen": int(race.seen[n]),
                "mean": None if math.isnan(means[n]) else float(means[n]),
                "beaten_by": standing.arms[race.out[n]].name if n in race.out else None,
                "withdrawn": standing.why.get(n),
                "behind_best": None if n == decision.best else race.difference(n, decision.best),
            }
            for n, (arm, planned) in enumerate(zip(standing.arms, standing.plans, strict=True))
        ],
    }
