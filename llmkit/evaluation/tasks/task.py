"""A task: which questions, over which documents, scored how. What a file in ``eval/tasks/`` describes."""

from __future__ import annotations

import hashlib
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, Protocol

from pydantic import Field, model_validator

from llmkit import assets, config
from llmkit.arguments import many_texts
from llmkit.errors import ConfigError, DataError
from llmkit.evaluation.runs.trace import sample_row
from llmkit.evaluation.tasks.rows import BadRow
from llmkit.part import Part
from llmkit.protocols import Encoder, Metric
from llmkit.registry import one_of
from llmkit.types import Document, Figure, Sample

if TYPE_CHECKING:
    from langchain_core.language_models import BaseChatModel

    from llmkit.models.chat import ChatModelSpec


class Dataset(Protocol):
    """Samples and the documents they are asked about, read as they are needed."""

    def samples(self) -> Iterator[Sample | BadRow]:
        """Every sample, in a fixed order."""
        ...

    def documents(self) -> Iterator[Document | BadRow]:
        """The corpus; nothing where the data set has none."""
        ...


class Price(Part):
    """What a million tokens cost."""

    input: float = Field(ge=0)
    """Of the prompt."""
    output: float = Field(ge=0)
    """Of the answer."""


class Calibration(Part):
    """Columns of a data set in which people judged answers."""

    passage: str = "context"
    """The evidence."""
    response: str = "response"
    """The answer that was judged."""
    label: str = "label"
    """1: supported by the evidence; 0: not."""


class Task(Part):
    """Data set, documents, metrics and limits of an evaluation."""

    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$")
    """What the task is called in tables and run folders."""
    description: str = ""
    """One sentence for people."""
    dataset: Annotated[Dataset, one_of("dataset")]
    """Where the questions come from."""
    knowledge: Literal["corpus", "gold", "pipeline", "none"] = "corpus"
    """corpus: the data set's documents, ingested once; gold: the same, but each question is given its relevant
    passages instead of retrieving (reading); pipeline: what the pipeline names; none: nothing is looked up."""
    inputs: tuple[str, ...] = ()
    """Columns the pipeline is given beside the question, for verifiers to check drafts by: ``[concepts]``. Never the
    right answer."""
    encoder: Annotated[Encoder, one_of("encoder")] = Field(default="local", validate_default=True)
    """Encoder of the knowledge base made from the corpus."""
    splitter: Annotated[Part, one_of("splitter")] = Field(default="structure", validate_default=True)
    """How the corpus is cut into passages."""
    distractors: int = Field(default=0, ge=0)
    """With knowledge: gold, how many passages of other documents are shown too, retrieved for the question."""
    metrics: tuple[Annotated[Metric, one_of("metric")], ...] = Field(min_length=1)
    """How answers are scored."""
    primary: str = ""
    """The figure that decides; empty: the first metric's first."""
    calibration: Calibration | None = None
    """Where people judged the answers: `llmkit eval --calibrate` scores the metrics themselves."""
    limit: int | None = Field(default=None, ge=1)
    """How many samples at most."""
    shuffle: int | None = None
    """Seed of a random order; none: the order of the file."""
    repeats: int = Field(default=1, ge=1, le=100)
    """How often each sample is run, for models that do not answer the same each time."""
    deadline: float | None = Field(default=120.0, gt=0)
    """Seconds for one sample."""
    retries: int = Field(default=2, ge=0)
    """Further attempts of a sample whose model failed in a way that may pass."""
    fail_on_error: float = Field(default=0.1, ge=0, le=1)
    """Share of samples that may fail before the run is stopped; 0: none."""
    prices: dict[str, Price] = Field(default_factory=dict)
    """By model, as in ``openai:gpt-5-mini``; the cost of other models is unknown."""

    @model_validator(mode="after")
    def _figures_agree(self) -> Task:
        seen: dict[str, str] = {}
        for metric in self.metrics:
            for name in metric.figures():
                if name in seen:
                    raise ValueError(f"two metrics give {name!r}: {seen[name]} and {metric.type}")
                seen[name] = metric.type
        if self.primary and self.primary not in seen:
            raise ValueError(f"primary: no metric gives {self.primary!r} (there is: {', '.join(seen)})")
        return self

    def with_models(self, load: Callable[[ChatModelSpec], BaseChatModel]) -> Task:
        """The same task, the models of its judges made by `load`."""
        metrics = [metric.with_models(load) if hasattr(metric, "with_models") else metric for metric in self.metrics]
        return self.replace(metrics=metrics)

    @property
    def figures(self) -> dict[str, Figure]:
        """Every number the metrics give, in order."""
        return {name: figure for metric in self.metrics for name, figure in metric.figures().items()}

    @property
    def decides(self) -> str:
        """The primary figure."""
        return self.primary or next(iter(self.figures))


@dataclass(frozen=True, slots=True)
class Selection:
    """The samples of a task: those that are run, and the rows that cannot be used."""

    positions: tuple[int, ...]
    """Of the samples taken, in the order they are run."""
    total: int
    """Usable samples in the data set."""
    clusters: int
    """Groups among those taken."""
    digest: str
    """Of the samples taken, in that order: two runs with one digest saw the same questions."""
    bad: tuple[BadRow, ...]
    """The first rows that cannot be used."""
    bad_count: int


def select(task: Task) -> Selection:
    """Read the data set once: check every row, choose the samples, take their digest.

    Raises:
        DataError: no sample can be used, or two have one id.
    """
    digests: list[bytes] = []
    groups: list[str] = []
    seen: set[str] = set()
    bad: list[BadRow] = []
    bad_count = 0
    for item in task.dataset.samples():
        if isinstance(item, Sample) and item.id in seen:
            item = BadRow(f"sample {item.id!r}", "another sample has this id")
        if isinstance(item, BadRow):
            bad_count += 1
            if len(bad) < 20:
                bad.append(item)
            continue
        seen.add(item.id)
        content = json.dumps(sample_row(item), sort_keys=True, default=str)
        digests.append(hashlib.sha256(content.encode()).digest())
        groups.append(item.cluster or item.id)
    if not digests:
        reasons = "; ".join(map(str, bad[:3]))
        raise DataError(
            f"task {task.name}: no sample can be used{f': {reasons}' if reasons else ': the data set is empty'}"
        )
    positions = list(range(len(digests)))
    if task.shuffle is not None:
        random.Random(task.shuffle).shuffle(positions)  # noqa: S311
    positions = positions[: task.limit]
    whole = hashlib.sha256(b"".join(digests[i] for i in positions)).hexdigest()[:16]
    clusters = len({groups[i] for i in positions})
    return Selection(tuple(positions), len(digests), clusters, whole, tuple(bad), bad_count)


def chosen_samples(task: Task, selection: Selection) -> Iterator[Sample]:
    """The selected samples; in file order one at a time, shuffled ones from memory."""
    wanted = set(selection.positions)
    usable = _usable(task)
    if list(selection.positions) == sorted(selection.positions):
        yield from (sample for n, sample in enumerate(usable) if n in wanted)
        return
    held = {n: sample for n, sample in enumerate(usable) if n in wanted}
    yield from (held[n] for n in selection.positions)


def _usable(task: Task) -> Iterator[Sample]:
    seen: set[str] = set()
    for item in task.dataset.samples():
        if isinstance(item, Sample) and item.id not in seen:
            seen.add(item.id)
            yield item


def load_task(name: str | Path, overrides: list[str] | tuple[str, ...] = ()) -> Task:
    """Read a task: a path, or a name in ``eval/tasks/``.

    Raises:
        ConfigError: with every problem of the file and where it stands.
    """
    many_texts(overrides, "overrides")
    given = str(name)
    direct = Path(given).expanduser().is_file() or given.startswith("tasks/")
    path = assets.find("eval", given if direct else f"tasks/{given}")
    found = config.read(path).override(overrides)
    values: dict[str, Any] = found.values
    if isinstance(values, dict) and "steps" in values:
        raise ConfigError(f"{given} is a pipeline, not a task", found.source)
    dataset = values.get("dataset")
    if isinstance(dataset, dict):
        for key in ("path", "corpus"):
            if isinstance(dataset.get(key), str):
                dataset[key] = _beside(path, dataset[key])
    return found.build(Task)


def _beside(task: Path, name: str) -> str:
    """A relative path that the current folder does not have, but the task's own has."""
    given = Path(name).expanduser()
    beside = task.parent / given
    return str(beside.resolve()) if not given.is_absolute() and not given.exists() and beside.exists() else name
