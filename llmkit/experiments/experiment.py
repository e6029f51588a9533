"""An experiment: which arms, on which task, decided how. What a file in ``eval/experiments/`` describes."""

from __future__ import annotations

import re
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, model_validator

from llmkit import assets, config, prompts
from llmkit.arguments import many_texts
from llmkit.errors import ConfigError, LlmkitError, Problem
from llmkit.evaluation.tasks.task import Task, load_task
from llmkit.experiments.race.strategies import Strategy
from llmkit.part import Part
from llmkit.pipeline import Pipeline, load_pipeline
from llmkit.registry import one_of

_MOST = 1000  # arms
_PROMPT = re.compile(r"[a-z][a-z0-9-]*@v[0-9]+")


class Budget(Part):
    """What an experiment may use; whatever runs out first ends it."""

    calls: int | None = Field(default=None, ge=1)
    """Answers: one arm on one sample."""
    tokens: int | None = Field(default=None, ge=1)
    """Of models, in and out."""
    money: float | None = Field(default=None, gt=0)
    """By the task's prices."""
    minutes: float | None = Field(default=None, gt=0)
    """Of this session."""

    def __str__(self) -> str:
        limits = [f"{value:g} {name}" for name, value in self if value is not None]
        return ", ".join(limits) or "no limit"


class Experiment(Part):
    """Arms that differ from one pipeline in a few places, and how long it takes to know which is best."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What the experiment is called in folders."""
    description: str = ""
    """One sentence for people."""
    pipeline: str
    """The pipeline that is varied: a path, or a name in ``pipelines/``."""
    task: str
    """What arms are judged on: a path, or a name in ``eval/tasks/``."""
    set: dict[str, Any] = Field(default_factory=dict)
    """Values for all arms, by dotted path."""
    task_set: dict[str, Any] = Field(default_factory=dict)
    """Values for the task, by dotted path, as in ``limit: 300``."""
    vary: dict[str, list[Any]] = Field(default_factory=dict)
    """Values to try, by dotted path of the pipeline, or of the task after ``task.``: an arm for every combination."""
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Arms by name instead, each with its own values by dotted path; an empty mapping is the pipeline as it is."""
    figure: str = ""
    """The figure that decides, a share in [0, 1] of which more is better; empty: the task's primary."""
    strategy: Annotated[Strategy, one_of("strategy")] = Field(default="successive", validate_default=True)
    """Who sees the next samples: successive, lucb, thompson, epsilon-greedy, or grid for everyone and everything; or
    optimise, which makes the arms itself."""
    epsilon: float = Field(default=0.02, gt=0, lt=1)
    """A difference of means that does not matter."""
    delta: float = Field(default=0.05, gt=0, lt=1)
    """Probability with which the decision may be wrong by more than epsilon."""
    block: int = Field(default=4, ge=1)
    """Samples an arm sees at a time."""
    max_missing: float = Field(default=0.25, ge=0, lt=1)
    """Share of an arm's samples that may fail or stay unscored; one with more is withdrawn, from eight samples on."""
    seed: int = 0
    """Of the order in which samples are seen."""
    budget: Budget = Field(default_factory=Budget)
    """calls, tokens, money, minutes."""

    @model_validator(mode="after")
    def _one_way(self) -> Experiment:
        if self.optimises:
            if self.vary or self.arms:
                raise ValueError("strategy optimise makes its own arms: leave vary and arms out")
            return self
        if bool(self.vary) == bool(self.arms):
            raise ValueError("give either vary (values by path) or arms (by name)")
        count = len(self.arms) if self.arms else _product_size(self.vary)
        if count < 2:
            raise ValueError("an experiment needs two arms or more")
        if count > _MOST:
            raise ValueError(f"{count} arms are more than {_MOST}: vary less at a time")
        return self

    @property
    def optimises(self) -> bool:
        """Whether the arms are made by a search."""
        return getattr(self.strategy, "type", "") == "optimise"


@dataclass(frozen=True)
class Arm:
    """One way to set the pipeline up."""

    name: str
    values: dict[str, Any]
    """By dotted path, what makes it differ."""
    pipeline: Pipeline

    @property
    def of_task(self) -> dict[str, Any]:
        """Values of paths that begin with ``task.``, as in ``task.splitter.max_tokens``."""
        return {path.removeprefix("task."): value for path, value in self.values.items() if path.startswith("task.")}


def load_experiment(name: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment: a path, or a name in ``eval/experiments/``.

    Raises:
        ConfigError: with every problem of the file and where it stands.
    """
    many_texts(overrides, "overrides")
    given = str(name)
    direct = Path(given).expanduser().is_file() or given.startswith("experiments/")
    path = assets.find("eval", given if direct else f"experiments/{given}")
    return config.read(path).override(overrides).build(Experiment)


def task_of(experiment: Experiment, arm: Arm | None = None) -> Task:
    """The task, with the experiment's values and an arm's.

    Raises:
        ConfigError: the task is wrong, or the figure is none that a race can be run on.
    """
    task = load_task(experiment.task, _assignments({**experiment.task_set, **(arm.of_task if arm else {})}))
    figure = experiment.figure or task.decides
    if figure not in task.figures:
        raise ConfigError(f"figure: task {task.name} has no {figure!r} (there is: {', '.join(task.figures)})")
    about = task.figures[figure]
    if about.unit != "share" or about.better != "higher":
        raise ConfigError(
            f"figure: a race needs a share of which more is better; {figure} is {about.unit}, {about.better} is better"
        )
    if task.repeats != 1:
        raise ConfigError("an experiment runs each sample once: set repeats to 1")
    return task


def arms_of(experiment: Experiment) -> list[Arm]:
    """Every arm, checked before the first call is made.

    Raises:
        ConfigError: a path that leads nowhere, a value that is wrong, two arms that are the same.
    """
    assets.find("pipelines", experiment.pipeline)  # a missing pipeline is reported once, not for every arm
    found, problems = [], []
    for name, values in _named(experiment):
        try:
            arm = Arm(name, values, vary_pipeline(experiment, values))
            found.append(arm)
            if arm.of_task:
                task_of(experiment, arm)
        except ConfigError as error:
            problems += [Problem(f"arm {name}", problem.message) for problem in error.problems]
    if problems:
        raise ConfigError(problems, experiment.name)
    seen: dict[str, str] = {}
    for arm in found:
        key = yaml.safe_dump([_resolved(arm.pipeline.config()), arm.of_task], sort_keys=True)
        if key in seen:
            problems.append(Problem(f"arm {arm.name}", f"is the same pipeline as arm {seen[key]}: leave one out"))
        seen.setdefault(key, arm.name)
    if problems:
        raise ConfigError(problems, experiment.name)
    return found


def vary_pipeline(experiment: Experiment, values: dict[str, Any]) -> Pipeline:
    """The experiment's pipeline with values by dotted path.

    Raises:
        ConfigError: a path that leads nowhere, a value that is wrong.
    """
    own = {path: value for path, value in values.items() if not path.startswith("task.")}
    return load_pipeline(experiment.pipeline, _assignments({**experiment.set, **own}))


def _resolved(values: Any, key: str = "") -> Any:
    """A configuration with the digest of a prompt in place of its name, and the number of examples in place of all."""
    if isinstance(values, dict):
        found = {name: _resolved(value, name) for name, value in values.items()}
        if "examples" in values and values["examples"] is None and isinstance(values.get("prompt"), str):
            found["examples"] = len(prompts.load(values["prompt"]).examples)
        return found
    if isinstance(values, list):
        return [_resolved(value, key) for value in values]
    if isinstance(values, str) and (key == "prompt" or _PROMPT.fullmatch(values)):
        with suppress(LlmkitError):
            return prompts.load(values).digest
    return values


def _named(experiment: Experiment) -> list[tuple[str, dict[str, Any]]]:
    if experiment.arms:
        return list(experiment.arms.items())
    paths = list(experiment.vary)
    ends = [path.rpartition(".")[2] for path in paths]
    short = {path: _last(path) if ends.count(end) > 1 else end for path, end in zip(paths, ends, strict=True)}
    combinations = [dict(zip(paths, values, strict=True)) for values in product(*experiment.vary.values())]
    return [(" ".join(f"{short[path]}={_short(value)}" for path, value in one.items()), one) for one in combinations]


def _product_size(vary: dict[str, list[Any]]) -> int:
    size = 1
    for values in vary.values():
        size *= len(values)
    return size


def _assignments(values: dict[str, Any]) -> list[str]:
    return [f"{path}={_flow(value)}" for path, value in values.items()]


def _flow(value: Any) -> str:
    """A value as one line of YAML."""
    return yaml.safe_dump(value, default_flow_style=True, width=1 << 20).removesuffix("\n...\n").strip()


def _last(path: str) -> str:
    parts = path.split(".")
    return ".".join(parts[-2:]) if len(parts) > 1 else path


def _short(value: Any) -> str:
    if isinstance(value, dict) and "type" in value:
        return str(value["type"]) + (
            "" if len(value) == 1 else f"({','.join(f'{k}={v}' for k, v in value.items() if k != 'type')})"
        )
    return str(value)
