"""Whether the citations lead to the documents that hold the answer, and the sentences rest on what they cite."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from pydantic import Field

from llmkit.evaluation.metrics.normalize import read_answer, strip_marks
from llmkit.grounding import evidence_from, judge_sentences
from llmkit.part import Part
from llmkit.types import Answer, Figure, Sample, Score, State


class Citations(Part):
    """Precision and recall of the cited documents, and the share of sentences that cited passages support.

    Support is wording, not truth (:mod:`llmkit.grounding.support`). The metric checks every sentence again, with the
    function that the step `ground` uses; it does not rely on what an earlier step found.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "citations"

    overlap: float = Field(default=0.75, gt=0, le=1)
    """Minimum score of a supported sentence: the share of its content words that a cited passage has."""

    def figures(self) -> Mapping[str, Figure]:
        """Three shares, over the samples that were answered."""
        return {
            "citation_precision": Figure("Cited documents that are relevant"),
            "citation_recall": Figure("Relevant documents that are cited"),
            "grounded": Figure("Sentences of the answer that a cited passage supports, by their words"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Nothing for an abstention: it claims nothing."""
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        if answer.abstained:
            return {}
        found = {"grounded": self._grounded(answer, state)}
        if sample.relevant:
            cited = [citation.document for citation in answer.citations]
            right = [name in sample.relevant for name in cited]
            nothing = Score.unscored("the answer cites nothing")
            found["citation_precision"] = Score(sum(right) / len(right)) if right else nothing
            found["citation_recall"] = Score(len(set(cited) & set(sample.relevant)) / len(sample.relevant))
        return found

    def _grounded(self, answer: Answer, state: State) -> Score:
        cited = {citation.chunk for citation in answer.citations}
        passages = [evidence_from(hit.chunk) for hit in state.hits if hit.chunk.id in cited]
        judged = judge_sentences(strip_marks(answer.text), passages, threshold=self.overlap)
        if not judged:
            return Score.unscored("the answer has no sentence")
        return Score(sum(sentence.supported for sentence in judged) / len(judged))
