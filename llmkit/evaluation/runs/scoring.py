"""The score row of a sample: what every metric says, times, tokens, cost."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from llmkit.errors import ModelError
from llmkit.evaluation.tasks.task import Task
from llmkit.pipeline.steps.answering.abstain import confidence_of
from llmkit.types import Sample, Score, State


def score_row(
    task: Task, sample: Sample, repeat: int, state: State, seconds: float, calls: Sequence[dict[str, Any]]
) -> dict[str, Any]:
    """Scores of a state; a metric that breaks leaves its figures unscored, with the reason.

    Raises:
        ModelError: a judge's model did not answer: the sample has failed, and is tried again.
    """
    scores: dict[str, float] = {}
    unscored: dict[str, str] = {}
    for metric in task.metrics:
        try:
            found = metric.score(sample, state)
        except ModelError:
            raise
        except Exception as error:
            found = {n: Score.unscored(f"the metric broke: {type(error).__name__}: {error}") for n in metric.figures()}
        for name, score in found.items():
            if score.value is None:
                unscored[name] = score.reason
            else:
                scores[name] = score.value
    usage = state.usage
    return {
        "id": sample.id,
        "repeat": repeat,
        "cluster": sample.cluster or sample.id,
        "status": "ok",
        "error": None,
        "seconds": round(seconds, 6),
        "input_tokens": usage.input_tokens,
        "output_tokens": usage.output_tokens,
        "calls": usage.calls,
        "cached": sum(bool(call["cached"]) for call in calls),
        "cost": _cost(task, state),
        "answered": None if state.answer is None else not state.answer.abstained,
        "confidence": confidence_of(state),
        "scores": scores,
        "unscored": unscored,
    }


def _cost(task: Task, state: State) -> float | None:
    """Money for the calls, None where a model that was asked has no price."""
    total = 0.0
    for record in state.records:
        if record.usage.calls:
            price = task.prices.get(str(record.detail.get("model", "")))
            if price is None:
                return None
            total += (record.usage.input_tokens * price.input + record.usage.output_tokens * price.output) / 1e6
    return total
