"""The end of a search: the best candidate against the incumbent on held-back samples, and what follows from it."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np

from llmkit import prompt_versions
from llmkit.evaluation.analysis.statistics import Paired, paired
from llmkit.evaluation.runs.plan import plan
from llmkit.evaluation.runs.run_folder import write_json
from llmkit.experiments import running
from llmkit.experiments.answers import Answers
from llmkit.experiments.optimise.candidates import Candidate
from llmkit.experiments.optimise.search import Search, arm, candidates
from llmkit.experiments.optimise.splits import HeldBack
from llmkit.version import __version__


@dataclass(frozen=True)
class Point:
    """What a candidate is worth and what it costs."""

    name: str
    mean: float
    """Of the figure, over the samples it was raced on."""
    tokens: float
    """In and out, for one sample."""
    seen: int
    """Samples."""
    front: bool
    """No other one is at least as good and as cheap, and better in one of them."""


@dataclass(frozen=True)
class Outcome:
    """How a search ended."""

    why: str
    """In words."""
    best: str
    """Name of the candidate that was judged; ``incumbent`` where none was."""
    paired: Paired | None
    """On the held-back samples, candidate minus incumbent; None where nothing was judged."""
    level: float
    """Confidence of its interval."""
    use: int
    """Which use of the held-back samples this was; 0 for none."""
    file: Path | None
    """The new version; None where none was written."""
    points: tuple[Point, ...]
    """Quality and cost of every candidate."""


def optimise(
    search: Search, *, workers: int = 1, on_step: running.Listener = lambda _: None, folder: Path | None = None
) -> Outcome:
    """Search, judge, and write the winner as a new version of the prompt, if it is one.

    Args:
        search: checked.
        workers: samples at a time.
        on_step: told as the races go on.
        folder: where prompts are written; none: ``prompts`` in the current folder.

    Raises:
        DataError: no candidate can run.
        PromptError: the new version cannot be written.
        Cancelled: interrupted; every finished answer is kept and found again.
    """
    best = candidates(search, workers=workers, on_step=on_step)
    name = next((name for name, one in search.made.items() if one is best), "incumbent")
    found: Paired | None = None
    file: Path | None = None
    level, use = 1 - search.experiment.delta, 0
    if best is None:
        why = "nothing was better than the incumbent in the races: it stays, and no held-back sample was used"
    else:
        found, level, use, why = _judge(search, name, workers)
        if found is not None and beats(found, level):
            file = write(search, best, found, level, folder or Path.cwd() / "prompts")
            why = f"written as {file.parent.name}@{file.stem}"
    outcome = Outcome(why, name, found, level, use, file, points(search))
    write_json(search.path / "outcome.json", as_json(search, outcome))
    return outcome


def beats(found: Paired, level: float) -> bool:
    """Whether the interval lies above 0, and chance would not flip signs that way either."""
    low = found.difference.low
    return low is not None and low > 0 and found.p < 1 - level


def _judge(search: Search, name: str, workers: int) -> tuple[Paired | None, float, int, str]:
    """Both on every held-back sample. A missing answer counts against the candidate, whoever's it is."""
    plans = [search.plan, plan(arm(search, name).pipeline, search.task, search.runs)]
    ledger = HeldBack(search.runs / "experiments" / "held-back.jsonl", search.split.held, search.figure)
    judged = [one.run["digest"] for one in plans]
    use, level = ledger.level(judged, search.experiment.delta)
    ledger.use(judged)
    answers = Answers(plans, search.figure, search.spent, workers, max_missing=search.experiment.max_missing)
    values: list[list[float]] = [[], []]
    held = search.split.held
    for first in range(0, len(held), search.experiment.block):
        if why := search.exhausted_budget():
            return None, level, use, f"{why} before the end: nothing is decided, and nothing written"
        for n, worst in ((0, 1.0), (1, 0.0)):
            scores = answers.of(n, held[first : first + search.experiment.block])
            values[n] += [worst if math.isnan(score) else float(score) for score in scores]
    clusters = [search.samples[name].cluster or name for name in held]
    found = paired(np.array(values[0]), np.array(values[1]), clusters, level=level)
    why = "its interval on held-back samples does not lie above 0: the incumbent stays, and nothing is written"
    return found, level, use, why


def write(search: Search, best: Candidate, found: Paired, level: float, folder: Path) -> Path:
    """Write the candidate as the next version of the prompt, with where it comes from, and lock it.

    Raises:
        PromptError: it cannot be written.
    """
    incumbent = search.prompt
    span = found.difference
    lineage = {
        "from": incumbent.ref,
        "digest": incumbent.digest,
        "made": list(best.made),
        "experiment": search.path.name,
        "task": search.task.name,
        "figure": search.figure,
        "model": str(getattr(search.plan.pipeline.model, "model", "")),
        "difference": [round(value, 4) for value in (span.mean, span.low or 0.0, span.high or 0.0)],
        "confidence": round(level, 5),
        "held_back": len(search.split.held),
        "llmkit": __version__,
    }
    file = folder / incumbent.name / f"{prompt_versions.next_version(incumbent.name, folder)}.md"
    best.store(file, lineage)
    prompt_versions.lock_one(folder, file)
    return file


def points(search: Search) -> tuple[Point, ...]:
    """Quality and cost of every candidate, dearest first."""
    found: dict[str, tuple[float, float, int]] = {}
    for standing in search.rounds:
        means = standing.race.means()
        for n, (one, planned) in enumerate(zip(standing.arms, standing.plans, strict=True)):
            if standing.race.seen[n] and not math.isnan(means[n]):
                tokens = [
                    row["input_tokens"] + row["output_tokens"]
                    for row in planned.folder().scores()
                    if row["status"] == "ok"
                ]
                mean = float(np.mean(tokens)) if tokens else 0.0
                found[one.name] = (float(means[n]), mean, int(standing.race.seen[n]))
    listed = [
        Point(name, mean, tokens, seen, not any(_covers(other, (mean, tokens)) for other in found.values()))
        for name, (mean, tokens, seen) in found.items()
    ]
    return tuple(sorted(listed, key=lambda point: (-point.mean, point.tokens)))


def _covers(other: tuple[float, float, int], this: tuple[float, float]) -> bool:
    at_least = other[0] >= this[0] and other[1] <= this[1]
    return at_least and (other[0] > this[0] or other[1] < this[1])


def as_json(search: Search, outcome: Outcome) -> dict[str, Any]:
    """The outcome and how it was reached, as plain values."""
    found = outcome.paired
    plain: dict[str, Any] = json.loads(json.dumps({
        "experiment": search.experiment.config(),
        "figure": search.figure,
        "incumbent": search.prompt.ref,
        "best": outcome.best,
        "made": list(search.made[outcome.best].made),
        "why": outcome.why,
        "written": str(outcome.file) if outcome.file else None,
        "held_back": {"samples": len(search.split.held), "use": outcome.use, "confidence": outcome.level},
        "paired": asdict(found) if found else None,
        "points": [asdict(point) for point in outcome.points],
        "rounds": [str(standing.path) for standing in search.rounds],
        "spent": asdict(search.spent),
        "notes": search.notes,
    }, default=str))  # fmt: skip
    return plain
