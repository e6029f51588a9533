"""An experiment: which arms, on which task, decided how. What a file in ``eval/experiments/`` describes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import yaml
from pydantic import Field, model_validator

from llmkit import assets, config
from llmkit.errors import ConfigError, Problem
from llmkit.evaluation.task import Task, load_task
from llmkit.experiments.strategies import Strategy
from llmkit.part import Part
from llmkit.pipeline import Pipeline, load_pipeline
from llmkit.registry import one_of

_MOST = 1000  # arms


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
        told = [f"{value:g} {name}" for name, value in self if value is not None]
        return ", ".join(told) or "no limit"


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
    """Values to try, by dotted path: an arm for every combination."""
    arms: dict[str, dict[str, Any]] = Field(default_factory=dict)
    """Arms by name instead, each with its own values by dotted path; an empty mapping is the pipeline as it is."""
    figure: str = ""
    """The figure that decides, a share in [0, 1] of which more is better; empty: the task's primary."""
    strategy: Annotated[Strategy, one_of("strategy")] = Field(default="successive", validate_default=True)
    """Who sees the next samples: successive, lucb, thompson, epsilon-greedy, or grid for everyone and everything."""
    epsilon: float = Field(default=0.02, gt=0, lt=1)
    """A difference of means that does not matter."""
    delta: float = Field(default=0.05, gt=0, lt=1)
    """Probability with which the decision may be wrong by more than epsilon."""
    block: int = Field(default=4, ge=1)
    """Samples an arm sees at a time."""
    seed: int = 0
    """Of the order in which samples are seen."""
    budget: Budget = Field(default_factory=Budget)
    """calls, tokens, money, minutes."""

    @model_validator(mode="after")
    def _one_way(self) -> Experiment:
        if bool(self.vary) == bool(self.arms):
            raise ValueError("give either vary (values by path) or arms (by name)")
        count = len(self.arms) if self.arms else _product_size(self.vary)
        if count < 2:
            raise ValueError("an experiment needs two arms or more")
        if count > _MOST:
            raise ValueError(f"{count} arms are more than {_MOST}: vary less at a time")
        return self


@dataclass(frozen=True)
class Arm:
    """One way to set the pipeline up."""

    name: str
    values: dict[str, Any]
    """By dotted path, what makes it differ."""
    pipeline: Pipeline


def load_experiment(name: str | Path, overrides: Sequence[str] = ()) -> Experiment:
    """Read an experiment: a path, or a name in ``eval/experiments/``.

    Raises:
        ConfigError: with every problem of the file and where it stands.
    """
    given = str(name)
    direct = Path(given).expanduser().is_file() or given.startswith("experiments/")
    path = assets.find("eval", given if direct else f"experiments/{given}")
    return config.read(path).override(overrides).build(Experiment)


def task_of(experiment: Experiment) -> Task:
    """The task, with the experiment's values.

    Raises:
        ConfigError: the task is wrong, or the figure is none that a race can be run on.
    """
    task = load_task(experiment.task, _assignments(experiment.task_set))
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
    found, problems = [], []
    for name, values in _named(experiment):
        try:
            pipeline = load_pipeline(experiment.pipeline, _assignments({**experiment.set, **values}))
            found.append(Arm(name, values, pipeline))
        except ConfigError as error:
            problems += [Problem(f"arm {name}", problem.message) for problem in error.problems]
    if problems:
        raise ConfigError(problems, experiment.name)
    seen: dict[str, str] = {}
    for arm in found:
        key = yaml.safe_dump(arm.pipeline.config(), sort_keys=True)
        if key in seen:
            problems.append(Problem(f"arm {arm.name}", f"is the same pipeline as arm {seen[key]}: leave one out"))
        seen.setdefault(key, arm.name)
    if problems:
        raise ConfigError(problems, experiment.name)
    return found


def _named(experiment: Experiment) -> list[tuple[str, dict[str, Any]]]:
    if experiment.arms:
        return list(experiment.arms.items())
    paths = list(experiment.vary)
    combinations = [dict(zip(paths, values, strict=True)) for values in product(*experiment.vary.values())]
    return [(" ".join(f"{_last(path)}={_short(value)}" for path, value in one.items()), one) for one in combinations]


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
