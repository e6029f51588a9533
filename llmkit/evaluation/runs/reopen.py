"""A run's pipeline and task, made again from what the run wrote down."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from llmkit import config
from llmkit.errors import KnowledgeError
from llmkit.evaluation.runs import run_digest
from llmkit.evaluation.runs.run_folder import RunFolder
from llmkit.evaluation.tasks.task import Task
from llmkit.knowledge.knowledge_base import KnowledgeBase
from llmkit.pipeline import Pipeline


@dataclass(frozen=True)
class RecordedRun:
    """What a run ran."""

    folder: RunFolder
    pipeline: Pipeline
    task: Task


def reopen(path: Path) -> RecordedRun:
    """Open a run with its pipeline, over the knowledge base it used.

    Raises:
        DataError: not a run.
        KnowledgeError: the knowledge base is gone, or holds something else by now.
    """
    folder = RunFolder(path)
    source = str(path / "run.json")
    pipeline = config.Config(folder.run["config"], source).build(Pipeline)
    task = config.Config(folder.run["task_config"], source).build(Task)
    known = folder.run["knowledge"]
    if known is not None:
        kb = KnowledgeBase.open(known["path"])
        now = run_digest.knowledge_identity(kb)["digest"]
        if now != known["digest"]:
            raise KnowledgeError(
                f"{known['path']} has changed since {path} was run (generation {known['generation']} then, "
                f"{kb.generation} now): run the evaluation again"
            )
        pipeline = pipeline.with_knowledge(kb)
    return RecordedRun(folder, pipeline, task)
