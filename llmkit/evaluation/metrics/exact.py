"""Answers a program can check: labels, numbers, concepts used."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from llmkit.evaluation.metrics.normal import normal, said
from llmkit.part import Part
from llmkit.tasks.concepts import missing
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
        if state.answer is None or not sample.answers:
            return {"accuracy": Score.unscored("no answer, or no right label")}
        text = normal(said(state.answer.text))
        if not self.labels:
            right = any(text == normal(gold) for gold in sample.answers)
            return {"accuracy": Score(float(right))}
        named = [label for label in self.labels if re.search(rf"(?<!\w){re.escape(normal(label))}(?!\w)", text)]
        # a label inside another one ("positive" in "very positive") is not named by it
        named = [one for one in named if not any(one != other and normal(one) in normal(other) for other in named)]
        right = len(named) == 1 and normal(named[0]) in {normal(gold) for gold in sample.answers}
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
        gold = [_value(answer) for answer in sample.answers]
        if state.answer is None or not gold or None in gold:
            return {"number": Score.unscored("no answer, or the right one is not a number")}
        found = _value(said(state.answer.text))
        right = found is not None and any(one is not None and abs(found - one) < 1e-6 for one in gold)
        return {"number": Score(float(right))}


class Concepts(Part):
    """Constrained writing: the share of the given concepts that the text uses, in any inflection of the stem."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "concepts"

    field: str = "concepts"
    """Column with the list of concepts."""

    def figures(self) -> Mapping[str, Figure]:
        """concepts, all_concepts."""
        return {
            "concepts": Figure("Concepts that the text uses"),
            "all_concepts": Figure("Texts that use every concept"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Unscored where the sample has no concepts."""
        wanted = sample.fields.get(self.field)
        if state.answer is None or not isinstance(wanted, list) or not wanted:
            return {name: Score.unscored(f"no answer, or no list {self.field!r}") for name in self.figures()}
        unique = list(dict.fromkeys(str(item) for item in wanted))
        held = len(unique) - len(missing(state.answer.text, unique))
        return {"concepts": Score(held / len(unique)), "all_concepts": Score(float(held == len(unique)))}


def _value(text: str) -> float | None:
    found = _NUMBER.findall(text)
    return float(found[-1].replace(",", "")) if found else None
