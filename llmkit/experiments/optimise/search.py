"""A search for a better version of a prompt: candidates are made, raced, and the best is judged on held-back samples.

::

    learn      the pipeline answers them: good answers become examples, bad ones are shown to who writes instructions
    race       round by round: what the last race left, and what is made of it (edits, proposals, sets of examples)
    held back  incumbent against the best of the last race, paired, once

Only if the interval of the paired difference on what the search has never seen lies above 0 is the candidate written.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from llmkit import prompts
from llmkit.errors import ConfigError, DataError, PromptError
from llmkit.evaluation.analysis.statistics import detectable
from llmkit.evaluation.runs.plan import Plan, caching_loader, plan
from llmkit.evaluation.runs.run_digest import digest
from llmkit.evaluation.tasks.task import Task, chosen_samples
from llmkit.experiments import running
from llmkit.experiments.answers import Answers, Spending, exhausted_budget
from llmkit.experiments.experiment import Arm, Experiment, task_of, vary_pipeline
from llmkit.experiments.optimise.candidates import Candidate
from llmkit.experiments.optimise.edits import Editor
from llmkit.experiments.optimise.proposals import Proposer
from llmkit.experiments.optimise.splits import Split, split
from llmkit.experiments.optimise.strategy import Optimise
from llmkit.experiments.optimise.traces import Attempt, check_exemplary, example_set, read_attempts
from llmkit.experiments.race.evidence import min_items
from llmkit.experiments.race.race import Race
from llmkit.overrides import place
from llmkit.pipeline import Pipeline
from llmkit.types import Sample


@dataclass
class Search:
    """An optimisation, checked and ready."""

    experiment: Experiment
    strategy: Optimise
    task: Task
    plan: Plan
    """Of the incumbent."""
    prompt: prompts.Prompt
    """The incumbent."""
    step: int
    """Position of the step whose prompt it is."""
    split: Split
    samples: dict[str, Sample]
    runs: Path
    path: Path
    """Folder of the search."""
    spent: Spending = field(default_factory=Spending)
    rounds: list[running.Standing] = field(default_factory=list)
    """Races so far."""
    made: dict[str, Candidate] = field(default_factory=dict)
    """Every candidate, by the name of its arm."""
    notes: list[str] = field(default_factory=list)
    """What was left out or refused, in words."""

    @property
    def figure(self) -> str:
        """What decides."""
        return self.experiment.figure or self.task.decides

    @property
    def least(self) -> int:
        """Answers without which nothing can be decided: to learn from, of one race of two arms, and of the end."""
        race = 2 * min_items(len(self.split.raced), self.experiment.delta)
        return len(self.split.learn) + race + 2 * len(self.split.held)

    @property
    def detectable(self) -> float:
        """Smallest difference that the held-back samples find four times out of five."""
        return detectable(self.split.clusters)

    def exhausted_budget(self, share: float = 1.0) -> str:
        """Which part of the budget has run out."""
        return exhausted_budget(self.experiment.budget, self.spent, share)

    def share(self, done: float) -> float:
        """Of the budget, what may be used when this much of the search is done: enough is kept for the end."""
        whole = self.experiment.budget.calls or 4 * (len(self.split.raced) + len(self.split.held))
        return done * max(0.0, 1 - (2 * len(self.split.held) + self.experiment.block) / whole)


def prepare(experiment: Experiment, runs: Path, note: Callable[[str], None] = lambda _: None) -> Search:
    """Check everything; nothing is asked yet.

    Raises:
        ConfigError: the path of the prompt, the task or the figure is wrong.
        DataError: too few samples, or a budget too small to decide anything.
    """
    strategy = experiment.strategy
    if not isinstance(strategy, Optimise):
        raise ConfigError("strategy: a search needs optimise")
    task, pipeline = task_of(experiment), vary_pipeline(experiment, {})
    step, ref = _worked_on(pipeline, strategy)
    planned = plan(pipeline, task, runs, note=note)
    samples = {sample.id: sample for sample in chosen_samples(planned.task, planned.selection)}
    parts = split(list(samples.values()), planned.selection.digest, strategy.learn, strategy.held_back, experiment.seed)
    path = runs / "experiments" / f"{experiment.name}-{digest([experiment.config(), planned.run['digest']])[:8]}"
    search = Search(
        experiment, strategy, task, planned, prompts.load(ref), step, parts, samples, runs, path
    )  # fmt: skip
    calls = experiment.budget.calls
    if calls is not None and calls < search.least:
        raise DataError(
            f"a budget of {calls} calls decides nothing: {len(parts.learn)} answers to learn from, "
            f"{2 * len(parts.held)} for the end and a race of two between need at least {search.least}"
        )
    return search


def check_search(experiment: Experiment) -> tuple[int, str]:
    """Position of the step whose prompt is worked on, and the prompt's reference.

    Raises:
        ConfigError: the strategy is another one, or the path leads nowhere.
    """
    if not isinstance(experiment.strategy, Optimise):
        raise ConfigError("strategy: a search needs optimise")
    return _worked_on(vary_pipeline(experiment, {}), experiment.strategy)


def _worked_on(pipeline: Pipeline, strategy: Optimise) -> tuple[int, str]:
    keys = place(pipeline.config(), strategy.prompt)
    if len(keys) != 3 or keys[0] != "steps" or not isinstance(keys[1], int):
        raise ConfigError(f"strategy.prompt: expected a prompt of a step, as steps.generate.prompt: {strategy.prompt}")
    ref = getattr(pipeline.steps[keys[1]], str(keys[2]), None)
    try:
        prompts.load(str(ref))
    except PromptError as error:
        raise ConfigError(f"strategy.prompt: {strategy.prompt} is no prompt: {error}") from error
    if strategy.sets and strategy.examples:
        check_exemplary(pipeline, keys[1])
    return keys[1], str(ref)


def candidates(search: Search, *, workers: int = 1, on_step: running.Listener = lambda _: None) -> Candidate | None:
    """Learn, make, race, round by round: the best candidate, or None where that is the incumbent.

    Raises:
        DataError: no candidate can run.
        Cancelled: interrupted; every finished answer is kept and found again.
    """
    strategy, chance = search.strategy, random.Random(search.experiment.seed)  # noqa: S311
    done = _learn(search, workers)
    incumbent = Candidate.of(search.prompt)
    search.made["incumbent"] = incumbent
    names, best = ["incumbent"], "incumbent"
    for number in range(1, strategy.rounds + 1):
        if search.exhausted_budget(search.share(1.0)):
            break
        children = _children(search, [search.made[name] for name in names], done, number, chance)
        if not children:
            search.notes.append(f"round {number}: nothing new could be made")
            break
        search.made |= children
        standing = _standing(search, number, list(dict.fromkeys([best, *names, "incumbent", *children])))
        if standing is None:
            break
        search.rounds.append(standing)
        decision = running.run(standing, workers=workers, on_step=on_step)
        best = standing.arms[decision.best].name
        means = standing.race.means()
        left = sorted(decision.left, key=lambda arm: (arm != decision.best, -means[arm]))
        names = [standing.arms[arm].name for arm in left][: strategy.parents]
        if standing.stopped:
            search.notes.append(f"round {number}: {standing.stopped}")
    return None if best == "incumbent" else search.made[best]


def _learn(search: Search, workers: int) -> list[Attempt]:
    """What the pipeline, or its teacher, makes of the samples that are set aside for that."""
    pipeline, planned = search.plan.pipeline, search.plan
    if search.strategy.teacher is not None:
        pipeline = vary_pipeline(search.experiment, {"model": search.strategy.teacher.config()})
        planned = plan(pipeline, search.task, search.runs)
    answers = Answers([planned], search.figure, search.spent, workers, max_missing=search.experiment.max_missing)
    ids = search.split.learn
    for first in range(0, len(ids), search.experiment.block):
        if why := search.exhausted_budget(search.share(1.0)):
            search.notes.append(f"only {first} of {len(ids)} samples were learnt from: {why}")
            ids = ids[:first]
            break
        answers.of(0, ids[first : first + search.experiment.block])
    return read_attempts(planned.folder(), planned.pipeline, search.step, search.figure, ids)


def _children(
    search: Search, parents: list[Candidate], done: list[Attempt], number: int, chance: random.Random
) -> dict[str, Candidate]:
    """New candidates by name, each made of one of the parents, none of them there already."""
    known = {candidate.key for candidate in search.made.values()}
    found: dict[str, Candidate] = {}
    for n, candidate in enumerate(_made(search, parents, done, number, chance), 1):
        if candidate is not None and candidate.key not in known:
            known.add(candidate.key)
            found[f"{number}.{n} {candidate.made[-1].partition(':')[0]}"] = candidate
    return found


def _made(
    search: Search, parents: list[Candidate], done: list[Attempt], number: int, chance: random.Random
) -> Iterator[Candidate | None]:
    strategy = search.strategy
    for n in range(strategy.sets if strategy.examples else 0):
        labels = strategy.labels and n % 2 == 1
        parent = parents[n % len(parents)]
        yield example_set(parent, done, strategy.examples, strategy.good, labels=labels, chance=chance)
    editor = Editor(strategy.phrases, strategy.rephrase)
    for n in range(strategy.edits):
        yield editor.edit(parents[n % len(parents)], chance)
    if strategy.proposals:
        yield from _proposed(search, parents, done, number)


def _proposed(search: Search, parents: list[Candidate], done: list[Attempt], number: int) -> Iterator[Candidate | None]:
    spec = search.strategy.model or search.plan.pipeline.model
    if spec is None:
        raise ConfigError("strategy.model: name the model that writes proposals")
    proposer = Proposer(caching_loader(search.plan.cache)(spec), search.strategy.propose)
    failures = [one for one in done if one.score < search.strategy.good]
    for n in range(search.strategy.proposals):
        if search.exhausted_budget(search.share(1.0)):
            break
        turn = (number - 1) * search.strategy.proposals + n
        yield proposer.propose(parents[n % len(parents)], failures[turn % max(len(failures), 1) :], turn)
    search.spent.calls += proposer.usage.calls
    search.spent.tokens += proposer.usage.input_tokens + proposer.usage.output_tokens
    if proposer.usage.calls and search.experiment.budget.money is not None:
        search.spent.unpriced += proposer.usage.calls
    search.notes += [f"a proposal was refused: {why}" for why in proposer.refused]


def arm(search: Search, name: str) -> Arm:
    """A candidate as an arm: its prompt in a file named after what it holds.

    Raises:
        PromptError: it cannot be written, or would be read back as another prompt.
    """
    if name == "incumbent":
        return Arm(name, {}, search.plan.pipeline)
    candidate = search.made[name]
    file = search.runs / "experiments" / "candidates" / search.prompt.name / f"c{candidate.key}.md"
    if not file.exists():
        candidate.store(file)
    values: dict[str, object] = {search.strategy.prompt: str(file)}
    if hasattr(search.plan.pipeline.steps[search.step], "examples"):
        values[".".join([*search.strategy.prompt.split(".")[:-1], "examples"])] = None
    return Arm(name, values, vary_pipeline(search.experiment, values))


def _standing(search: Search, number: int, names: list[str]) -> running.Standing | None:
    arms = []
    for name in names:
        try:
            arms.append(arm(search, name))
        except (PromptError, ConfigError) as error:
            search.notes.append(f"{name} cannot be used: {error}")
    if len(arms) < 2:
        return None
    plans = [search.plan if one.name == "incumbent" else plan(one.pipeline, search.task, search.runs) for one in arms]
    experiment = search.experiment
    race = Race(len(arms), len(search.split.raced), epsilon=experiment.epsilon, delta=experiment.delta)
    share = search.share(number / search.strategy.rounds)
    return running.Standing(
        experiment, arms, plans, race, search.figure, search.path / f"round-{number}", search.split.raced, search.spent,
        share,
    )  # fmt: skip
