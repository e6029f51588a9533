"""Answers a program can check: labels and numbers."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from llmkit.evaluation.metrics.normalize import normalize, read_answer, strip_marks
from llmkit.part import Part
from llmkit.types import Figure, Sample, Score, State

_NUMBER = re.compile(r"-?\d[\d,]*(?:\.\d+)?")


class Label(Part):
    """Classification: the answer names the right label and no other."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "label"

    labels: tuple[str, ...] = ()
    """Every label there is; empty: the answer must be the right one word for word."""

    def figures(self) -> Mapping[str, Figure]:
        """accuracy; and how often a label could be read at all."""
        return {
            "accuracy": Figure("The right label"),
            "labelled": Figure("Answers that name exactly one label"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """An answer with no label or several is wrong, and counted as not labelled."""
        answer = read_answer(state)
        if isinstance(answer, str):
            return {"accuracy": Score.unscored(answer)}
        if not sample.answers:
            return {"accuracy": Score.unscored("the sample has no right label")}
        text = normalize(strip_marks(answer.text))
        if not self.labels:
            right = any(text == normalize(gold) for gold in sample.answers)
            return {"accuracy": Score(float(right))}
        named = [label for label in self.labels if re.search(rf"(?<!\w){re.escape(normalize(label))}(?!\w)", text)]
        # a label inside another one ("positive" in "very positive") is not named by it
        named = [
            one for one in named if not any(one != other and normalize(one) in normalize(other) for other in named)
        ]
        right = len(named) == 1 and normalize(named[0]) in {normalize(gold) for gold in sample.answers}
        return {"accuracy": Score(float(right)), "labelled": Score(float(len(named) == 1))}


class Number(Part):
    """Arithmetic: the last number of the answer equals the right one."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "number"

    def figures(self) -> Mapping[str, Figure]:
        """One share."""
        return {"number": Figure("The last number of the answer is the right one")}

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """An answer without a number is wrong."""
        gold = [_value(right) for right in sample.answers]
        answer = read_answer(state)
        if isinstance(answer, str):
            return {"number": Score.unscored(answer)}
        if not gold or None in gold:
            return {"number": Score.unscored("the right answer is not a number")}
        found = _value(strip_marks(answer.text))
        right = found is not None and any(one is not None and abs(found - one) < 1e-6 for one in gold)
        return {"number": Score(float(right))}


def _value(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
