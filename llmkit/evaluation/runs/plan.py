"""What a run will do, known before it does it: samples, documents, power, and whether anything is left to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from llmkit.errors import ConfigError
from llmkit.evaluation.analysis.statistics import detectable
from llmkit.evaluation.runs import run_digest
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.evaluation.tasks.corpus import corpus_knowledge
from llmkit.evaluation.tasks.task import Selection, Task, load_task, select
from llmkit.models.chat import ChatModelSpec
from llmkit.models.response_cache import ResponseCache
from llmkit.pipeline.pipeline import Pipeline, load_pipeline
from llmkit.version import __version__

if TYPE_CHECKING:
    from llmkit.models.caching_chat import CachingChat


@dataclass(frozen=True)
class Plan:
    """A pipeline and a task, resolved."""

    pipeline: Pipeline
    task: Task
    selection: Selection
    run: dict[str, Any]
    """What `run.json` holds."""
    path: Path
    """Folder of the run."""
    cache: ResponseCache | None

    @property
    def samples(self) -> int:
        """Samples times repeats."""
        return len(self.selection.positions) * self.task.repeats

    @property
    def detectable(self) -> float:
        """Smallest difference between two systems that these samples find four times out of five."""
        return detectable(self.selection.clusters)

    def folder(self) -> RunFolder:
        """The run's folder, made if it is not there."""
        return RunFolder.create(self.path, self.run)


def plan(
    pipeline: Pipeline | str | Path,
    task: Task | str | Path,
    runs: str | Path = "runs",
    *,
    cache: bool = True,
    note: Callable[[str], None] = lambda _: None,
) -> Plan:
    """Resolve a pipeline and a task: read the data set once, make the knowledge base, name the run.

    Args:
        pipeline: what is judged, or its name or file.
        task: what it is judged on, or its name or file.
        runs: folder of all runs.
        cache: whether answers of models are remembered in `runs`. Without it the run begins anew, in its own folder.
        note: told what is being done.

    Raises:
        DataError: no sample can be used.
        ConfigError: the task wants gold passages of a pipeline that takes none.
    """
    pipeline = pipeline if isinstance(pipeline, Pipeline) else load_pipeline(pipeline)
    task = task if isinstance(task, Task) else load_task(task)
    runs = Path(runs).expanduser()
    selection = select(task)
    known: dict[str, Any] | None = None
    if task.knowledge in ("corpus", "gold"):
        if task.knowledge == "gold" and not any("hits" in step.needs for step in pipeline.steps):
            raise ConfigError(
                f"task {task.name} gives passages to read; pipeline {pipeline.name} has no step that reads"
            )
        kb = corpus_knowledge(task, runs / ".knowledge", note)
        pipeline = pipeline.with_knowledge(kb)
        known = run_digest.knowledge_identity(kb)
    elif task.knowledge == "pipeline":
        known = run_digest.knowledge_identity(pipeline.open_knowledge())
    responses = ResponseCache(runs / ".cache" / "responses.sqlite") if cache else None
    load = caching_loader(responses)
    pipeline, task = pipeline.with_models(load), task.with_models(load)
    config = {key: value for key, value in pipeline.config().items() if key != "knowledge"}
    shapes = {
        "llmkit": __version__,
        "pipeline": config,
        "prompts": run_digest.prompt_digests(pipeline),
        "models": run_digest.models(pipeline),
        "dataset": selection.digest,
        "knowledge": known and known["digest"],
        "given": [task.knowledge, task.distractors, *task.inputs],
        "repeats": task.repeats,
    }
    name = run_digest.digest(shapes)
    run = {
        "llmkit": __version__,
        "task": task.name,
        "pipeline": pipeline.name,
        "digest": name,
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "config": config,
        "task_config": task.config(),
        "dataset": {"digest": selection.digest, "samples": len(selection.positions), "of": selection.total},
        "knowledge": known,
        "prompts": shapes["prompts"],
        "models": shapes["models"],
    }
    path = runs / task.name / f"{pipeline.name}-{name[:8]}"
    if not cache:
        path = _unused(path)
    return Plan(pipeline, task, selection, run, path, responses)


def caching_loader(responses: ResponseCache | None) -> Callable[[ChatModelSpec], CachingChat]:
    """Makes chat models that answer from the cache what they were asked before."""

    def load(spec: ChatModelSpec) -> CachingChat:
        from llmkit.models.caching_chat import CachingChat

        return CachingChat(spec, run_digest.model_identity(spec), responses)

    return load


def _unused(path: Path) -> Path:
    number = 1
    while (fresh := path.with_name(f"{path.name}.{number}")).exists():
        number += 1
    return fresh
