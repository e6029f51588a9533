"""Constrained writing: whether a text uses given words, in any inflection. Words are compared by their stem."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

from pydantic import Field

from llmkit.evaluation.metrics.normalize import read_answer
from llmkit.extras import optional
from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.text.words import words
from llmkit.types import Figure, Sample, Score, State, Verdict


def missing_concepts(text: str, concepts: Sequence[str]) -> list[str]:
    """The concepts of which a word does not stand in the text, in order, each once."""
    used = set(stems(text))
    return [concept for concept in dict.fromkeys(concepts) if not used.issuperset(stems(concept))]


def stems(text: str) -> list[str]:
    """Words of a text brought to their stem by Porter's English stemmer (Snowball)."""
    with optional():
        import snowballstemmer

    found: list[str] = snowballstemmer.stemmer("english").stemWords([word.text for word in words(text)])
    return found


class ConceptsUsed(Part):
    """The share of the given words that the draft uses, in any inflection; names the missing ones."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "concepts"

    input: str = "concepts"
    """Input with the list of words."""
    show: int | None = Field(default=None, ge=1)
    """How many missing words are named at a time; a small model does better with few."""

    def verify(self, draft: str, state: State) -> Verdict:
        """1 where every word is used."""
        wanted = list(dict.fromkeys(inputs.texts(state, self.input)))
        left = missing_concepts(draft, wanted)
        if not left:
            return Verdict(1.0)
        return Verdict(1 - len(left) / len(wanted), (f"Use these words too: {', '.join(left[: self.show])}.",))


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
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        if not isinstance(wanted, list) or not wanted:
            return {name: Score.unscored(f"the sample has no list {self.field!r}") for name in self.figures()}
        unique = list(dict.fromkeys(str(item) for item in wanted))
        held = len(unique) - len(missing_concepts(answer.text, unique))
        return {"concepts": Score(held / len(unique)), "all_concepts": Score(float(held == len(unique)))}
