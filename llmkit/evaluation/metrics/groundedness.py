"""How well the passages support the answer, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmkit.evaluation.metrics.normalize import read_answer, strip_marks
from llmkit.grounding import evidence_from, judge_sentences
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State


class Groundedness(Part):
    """Mean over the sentences of the score that the step `ground` decides by (:mod:`llmkit.grounding.support`).

    A sentence scores the share of its content words that its best passage has, halved where something speaks against
    it. The score tells invented replies from supported ones (BEGIN), and does not tell minimal edits of faithful
    summaries from the summaries (SummEdits): ``llmkit eval --calibrate --task judge-begin-dev`` measures it. Scores
    rank; they are no probabilities.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "groundedness"

    def figures(self) -> Mapping[str, Figure]:
        """One share."""
        return {"groundedness": Figure("Content words of the answer that the passages have, halved by contradictions")}

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Nothing for an abstention: it claims nothing."""
        answer = read_answer(state)
        if isinstance(answer, str):
            return {"groundedness": Score.unscored(answer)}
        if answer.abstained:
            return {}
        if not state.hits:
            return {"groundedness": Score.unscored("there are no passages to judge by")}
        judged = judge_sentences(strip_marks(answer.text), [evidence_from(hit.chunk) for hit in state.hits])
        if not judged:
            return {"groundedness": Score.unscored("the answer has no words, so there is nothing to score")}
        return {"groundedness": Score(sum(sentence.score for sentence in judged) / len(judged))}
