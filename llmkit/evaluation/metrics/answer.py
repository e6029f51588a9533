"""Exact match and F1 with the right answers, as SQuAD has them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmkit.evaluation.metrics.normalize import contains, normalize, read_answer, strip_marks, token_f1
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State


class AnswerMatch(Part):
    """Compares the answer with the right ones and takes the best; for answerable samples only.

    An abstention on an answerable question scores 0. What is asked without a right answer is left to ``abstention``.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "answer"

    def figures(self) -> Mapping[str, Figure]:
        """em, f1, contains."""
        return {
            "em": Figure("The answer is a right one, word for word (SQuAD)"),
            "f1": Figure("Words shared with the nearest right answer, F1 (SQuAD)"),
            "contains": Figure("A right answer stands in the answer"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Nothing for an unanswerable sample."""
        if not sample.answers:
            return {}
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        if answer.abstained:
            return {name: Score(0.0) for name in self.figures()}
        text = strip_marks(answer.text)
        return {
            "em": Score(float(any(normalize(text) == normalize(gold) for gold in sample.answers))),
            "f1": Score(max(token_f1(text, gold) for gold in sample.answers)),
            "contains": Score(float(any(contains(text, gold) for gold in sample.answers))),
        }
