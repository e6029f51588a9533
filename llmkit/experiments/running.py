"""Running an experiment: blocks of samples for the arms that a strategy names, until the race is decided.

Every arm has a run folder of its own, the same that `llmkit eval` would make. Answers in it cost nothing, an
interrupted experiment goes on, and a finished arm is a finished run.
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

from llmkit.errors import Cancelled, ConfigError, DataError, LlmkitError
from llmkit.evaluation.runs.plan import Plan, plan
from llmkit.evaluation.runs.run_digest import digest
from llmkit.evaluation.runs.run_folder import write_json
from llmkit.evaluation.tasks.task import chosen_samples
from llmkit.experiments.answers import Answers, Spending, UnsuitableFigure, exhausted_budget
from llmkit.experiments.experiment import Arm, Experiment, arms_of, task_of
from llmkit.experiments.race.evidence import min_items
from llmkit.experiments.race.race import Decision, Race


@dataclass
class Standing:
    """The state of an experiment."""

    experiment: Experiment
    arms: list[Arm]
    plans: list[Plan]
    race: Race
    figure: str
    path: Path
    """Folder of the experiment."""
    order: tuple[str, ...] = ()
    """Ids of the samples, in the order every arm sees them."""
    spent: Spending = field(default_factory=Spending)
    share: float = 1.0
    """Share of the budget that may be used up when this race ends."""
    why: dict[int, str] = field(default_factory=dict)
    """Why an arm was withdrawn, by its number."""
    silent: int = 0
    """Samples to which the figure does not apply, for any arm."""
    stopped: str = ""
    """What ended the experiment, where that was not a decision."""
    history: list[tuple[int, int, float]] = field(default_factory=list)
    """(arm, samples seen, mean so far), in the order it happened."""

    @property
    def least(self) -> int:
        """Calls without which no pair of arms can be told apart, even if one is always right and the others wrong."""
        return len(self.arms) * min_items(self.race.items, self.race.delta / (self.race.arms - 1))

    def decision(self) -> Decision:
        """The decision so far."""
        return self.race.decision()


Listener = Callable[[Standing], None]


def prepare(experiment: Experiment, runs: Path, note: Callable[[str], None] = lambda _: None) -> Standing:
    """Check everything and make the knowledge bases, without asking for an answer.

    Raises:
        ConfigError: arms, task or figure are wrong.
        DataError: the budget is too small to decide anything.
    """
    task, arms = task_of(experiment), arms_of(experiment)
    plans = [plan(arm.pipeline, task_of(experiment, arm), runs, note=note) for arm in arms]
    for arm, planned in zip(arms, plans, strict=True):
        if planned.selection.digest != plans[0].selection.digest:
            raise ConfigError(
                f"arm {arm.name} is asked other questions than arm {arms[0].name}: they cannot be compared"
            )
    order = [sample.id for sample in chosen_samples(plans[0].task, plans[0].selection)]
    random.Random(experiment.seed).shuffle(order)  # noqa: S311
    race = Race(len(arms), len(order), epsilon=experiment.epsilon, delta=experiment.delta)
    shapes = {"experiment": experiment.config(), "runs": [one.run["digest"] for one in plans]}
    path = runs / "experiments" / f"{experiment.name}-{digest(shapes)[:8]}"
    standing = Standing(experiment, arms, plans, race, experiment.figure or task.decides, path, tuple(order))
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
    """Ask for answers until the race is decided, or the samples or the budget are used up.

    Raises:
        DataError: no arm can run, the disk is full, or the figure depends on what an arm answers.
        Cancelled: interrupted; every finished answer is kept and found again.
    """
    experiment, race = standing.experiment, standing.race
    chance = np.random.default_rng(experiment.seed)
    answers = Answers(
        standing.plans, standing.figure, standing.spent, workers, clock, max_missing=experiment.max_missing
    )
    whole = experiment.strategy.type == "grid"  # type: ignore[attr-defined]
    while whole or race.decision().kind == "undecided":
        going = [] if standing.stopped else experiment.strategy.next(race, chance)
        if not going:
            break
        for arm in going:
            standing.stopped = exhausted_budget(experiment.budget, standing.spent, standing.share)
            if standing.stopped:
                break
            size = experiment.block
            if experiment.budget.calls is not None:  # not more than are left, even if all of them have to be asked for
                size = min(size, math.ceil(experiment.budget.calls * standing.share) - standing.spent.calls)
            ids = standing.order[race.seen[arm] : race.seen[arm] + size]
            _step(standing, answers, arm, ids)
        standing.silent = answers.silent
        on_step(standing)
    answers.summarise()
    if not race.running:
        reasons = "; ".join(f"{standing.arms[arm].name}: {why}" for arm, why in standing.why.items())
        raise DataError(f"no arm can run: {reasons}")
    decision = race.decision()
    _write(standing, decision)
    return decision


def _step(standing: Standing, answers: Answers, arm: int, ids: Sequence[str]) -> None:
    """One block of samples for one arm; an arm that cannot run is withdrawn, with the reason."""
    race = standing.race
    try:
        race.add_scores(arm, answers.of(arm, ids))
    except LlmkitError as error:
        if isinstance(error, UnsuitableFigure):
            raise DataError(str(error)) from error
        if isinstance(error, Cancelled):
            raise
        race.withdraw(arm)
        standing.why[arm] = str(error)
        return
    standing.history.append((arm, int(race.seen[arm]), float(race.means()[arm])))


def _write(standing: Standing, decision: Decision) -> None:
    standing.path.mkdir(parents=True, exist_ok=True)
    write_json(standing.path / "decision.json", as_json(standing, decision))
    lines = [json.dumps({"arm": standing.arms[arm].name, "seen": n, "mean": mean}) for arm, n, mean in standing.history]
    (standing.path / "path.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def describe_state(standing: Standing, arm: int, best: int) -> str:
    """What has become of an arm, in words: withdrawn and why, or beaten by whom; empty where neither."""
    race, names = standing.race, [one.name for one in standing.arms]
    if arm in standing.why:
        return f"withdrawn: {standing.why[arm]}"
    if arm not in race.out:
        return ""
    by = race.out[arm]
    if by == best:
        return f"beaten by {names[by]}"
    value, low, high = race.difference(arm, by)
    return f"beaten by {names[by]}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"


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
        "known": standing.spent.known,
        "stopped": standing.stopped,
        "silent": standing.silent,
        "arms": [
            {
                "name": arm.name,
                "values": arm.values,
                "run": str(planned.path),
                "seen": int(race.seen[n]),
                "missing": race.missing(n),
                "mean": None if math.isnan(means[n]) else float(means[n]),
                "beaten_by": standing.arms[race.out[n]].name if n in race.out else None,
                "withdrawn": standing.why.get(n),
                "behind_beater": race.difference(n, race.out[n]) if n in race.out else None,
                "behind_best": None if n == decision.best else race.difference(n, decision.best),
            }
            for n, (arm, planned) in enumerate(zip(standing.arms, standing.plans, strict=True))
        ],
    }
