"""How well the passages support the answer, without a model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from llmkit.errors import DataError
from llmkit.evaluation.metrics.normal import said
from llmkit.grounding.groundedness import Groundedness
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State


class Grounded(Part):
    """Words of each sentence found in the passages in order, discounted by strange numbers, names and negations.

    It tells invented replies from supported ones (BEGIN), and is at chance on minimal edits of faithful summaries
    (SummEdits): ``llmkit eval --calibrate --task judge-begin-dev`` measures it. Scores rank; they are no probabilities.
    """

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "groundedness"

    def figures(self) -> Mapping[str, Figure]:
        """One share."""
        return {"groundedness": Figure("Words of the answer that the passages hold in that order, nothing against it")}

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Nothing for an abstention: it claims nothing."""
        if state.answer is None:
            return {"groundedness": Score.unscored("the pipeline gives no answer")}
        if state.answer.abstained:
            return {}
        if not state.hits:
            return {"groundedness": Score.unscored("there are no passages to judge by")}
        evidence = "\n\n".join(hit.chunk.text for hit in state.hits)
        try:
            (score,) = Groundedness().score_many([(evidence, sample.question, said(state.answer.text))])
        except DataError as error:
            return {"groundedness": Score.unscored(str(error))}
        return {"groundedness": Score(float(score))}
