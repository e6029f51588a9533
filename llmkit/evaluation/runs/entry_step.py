"""Where a sample enters a pipeline: at the first step with its question, or at the first that answers with passages."""

from __future__ import annotations

import random

from llmkit.errors import DataError, unknown
from llmkit.evaluation.tasks.corpus import document_passages
from llmkit.evaluation.tasks.task import Task
from llmkit.pipeline import Pipeline
from llmkit.types import Hit, Sample, State


def answering_step(pipeline: Pipeline) -> int:
    """Position of the first step that gives an answer; the number of steps where none does."""
    return next((n for n, step in enumerate(pipeline.steps) if "answer" in step.gives), len(pipeline.steps))


def enter_pipeline(pipeline: Pipeline, task: Task, sample: Sample) -> tuple[State, int]:
    """The state a sample begins with, and the step that comes first.

    Raises:
        DataError: the sample lacks a column that the task gives on; or gold passages
            are to be read, and the sample has none in the knowledge base.
    """
    missing = [name for name in task.inputs if name not in sample.fields]
    if missing:
        raise DataError(
            f"sample {sample.id}: {unknown('column', missing[0], sample.fields)}; the task's inputs name it"
        )
    inputs = {name: sample.fields[name] for name in task.inputs}
    state = State(question=sample.question, history=sample.history, inputs=inputs)
    if task.knowledge != "gold":
        return state, 0
    kb = pipeline.open_knowledge()
    gold = [Hit(chunk, 1.0) for chunk in document_passages(kb, list(sample.relevant))]
    if not gold:
        raise DataError(f"none of the relevant documents of {sample.id} has a passage: {', '.join(sample.relevant)}")
    shown = gold
    first = answering_step(pipeline)
    if task.distractors:
        found = Pipeline(name="distractors", steps=pipeline.steps[:first]).with_knowledge(kb).resume(state, 0).hits
        others = [hit for hit in found if hit.chunk.document not in sample.relevant]
        shown = [*gold, *others[: task.distractors]]
        random.Random(sample.id).shuffle(shown)  # noqa: S311
    return state.replace(hits=tuple(shown), retrieved=tuple(shown)), first
