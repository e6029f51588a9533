"""Whether the pipeline answers what it can and refuses what it cannot."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from pydantic import Field

from llmkit.arguments import many_texts
from llmkit.evaluation.metrics.normalize import contains, read_answer, strip_marks, token_f1
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State


class Abstention(Part):
    """Answered, refused rightly, refused wrongly; and right in all: answered rightly or refused rightly."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "abstention"

    f1: float = Field(default=0.5, gt=0, le=1)
    """An answer is right where it holds a right one, or shares words with it to this F1."""

    def figures(self) -> Mapping[str, Figure]:
        """Four shares; `refused` over the unanswerable samples, `refused_wrongly` over the answerable ones."""
        return {
            "right": Figure("Answered rightly, or refused where the documents hold no answer"),
            "right_if_answered": Figure("Right, of the answers that were given"),
            "refused": Figure("Unanswerable questions that were refused"),
            "refused_wrongly": Figure("Answerable questions that were refused", better="lower"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Unscored where the pipeline gives no answer, or its model sent no text: that is no abstention."""
        answer = read_answer(state)
        if isinstance(answer, str):
            return {"right": Score.unscored(answer)}
        refused = answer.abstained
        if not sample.answers:
            given = {} if refused else {"right_if_answered": Score(0.0)}
            return {"right": Score(float(refused)), "refused": Score(float(refused)), **given}
        right = not refused and is_right(answer.text, sample.answers, self.f1)
        found = {"right": Score(float(right)), "refused_wrongly": Score(float(refused))}
        return found if refused else {**found, "right_if_answered": Score(float(right))}


def is_right(text: str, answers: Sequence[str], f1: float = 0.5) -> bool:
    """Whether an answer holds a right one, or shares words with it to this F1."""
    many_texts(answers, "answers")
    text = strip_marks(text)
    return any(contains(text, gold) or token_f1(text, gold) >= f1 for gold in answers)


def risk_coverage(
    confidence: Sequence[float], right: Sequence[bool], *, of: int | None = None, points: int = 50
) -> list[tuple[float, float]]:
    """Share of questions answered against the share of the answers that are wrong, as the threshold falls.

    The curve of El-Yaniv & Wiener (2010). Answers of equal confidence enter together.

    Args:
        confidence: of each answer that was given.
        right: whether it is right.
        of: how many questions were asked; those without an answer are covered by no threshold.
        points: about how many pairs at most.

    Returns:
        (coverage, risk) pairs, coverage ascending.
    """
    order = np.argsort(-np.asarray(confidence, dtype=float), kind="stable")
    sure = np.asarray(confidence, dtype=float)[order]
    wrong = np.cumsum(~np.asarray(right, dtype=bool)[order])
    ends = np.flatnonzero(np.append(sure[1:] != sure[:-1], True)) if len(sure) else np.array([], dtype=int)
    if len(ends) > points:
        ends = np.unique(ends[np.linspace(0, len(ends) - 1, points).astype(int)])
    asked = of or len(sure)
    return [(float((end + 1) / asked), float(wrong[end] / (end + 1))) for end in ends]
