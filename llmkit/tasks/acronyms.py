"""Acronyms of titles: what can be checked without taste, their form, and where their letters come from."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from llmkit.evaluation.metrics.normalize import read_answer
from llmkit.part import Part
from llmkit.pipeline.verifiers import inputs
from llmkit.types import Figure, Sample, Score, State, Verdict

_WORD = re.compile(r"[A-Za-z0-9]+")
_SMALL = frozenset("a an and at by de for from in of on or the to with".split())
_VOWELS = frozenset("AEIOUY")


@dataclass(frozen=True, slots=True)
class AcronymCheck:
    """The acronym of an answer and what holds of it."""

    acronym: str
    """In capitals; empty where the answer is not a single acronym."""
    short: bool
    """Two to ten letters."""
    taken: bool
    """Its letters stand in the title in this order, the first at the beginning of a word."""
    covers: float
    """Share of the title's content words whose first letter it has, in order."""
    speakable: bool
    """At least one vowel, and nowhere more than three consonants in a row."""

    @property
    def score(self) -> float:
        """Mean of the four; 0 where there is no acronym."""
        return (self.short + self.taken + self.covers + self.speakable) / 4 if self.acronym else 0.0


def check_acronym(answer: str, title: str) -> AcronymCheck:
    """Check the acronym that an answer gives for a title: the whole answer, or what follows ``Acronym:``."""
    text = re.sub(r"(?i)^\s*acronym:\s*", "", answer.strip()).strip(" .\"'`*")
    compact = text.replace(".", "")
    if not re.fullmatch(r"[A-Za-z0-9]{1,20}", compact):
        return AcronymCheck("", False, False, 0.0, False)
    acronym = compact.upper()
    content = [word.upper() for word in _WORD.findall(title) if word.lower() not in _SMALL]
    return AcronymCheck(
        acronym,
        2 <= len(acronym) <= 10,
        _taken(acronym, [word.upper() for word in _WORD.findall(title)]),
        _initials(acronym, content) / len(content) if content else 0.0,
        bool(_VOWELS & set(acronym)) and not re.search(r"[B-DF-HJ-NP-TV-XZ]{4}", acronym),
    )


def _taken(acronym: str, words: list[str]) -> bool:
    for start, word in enumerate(words):
        if word[0] == acronym[0]:
            letters = iter("".join(words[start:]))
            return all(letter in letters for letter in acronym)
    return False


def _initials(acronym: str, words: list[str]) -> int:
    """How many words begin with a letter of the acronym, taken in order (longest common subsequence)."""
    row = [0] * (len(acronym) + 1)
    for word in words:
        before = list(row)
        for n, letter in enumerate(acronym, 1):
            row[n] = max(row[n - 1], before[n], before[n - 1] + (letter == word[0]))
    return row[-1]


class AcronymForm(Part):
    """Whether the draft is one short, speakable acronym with letters of the title; not whether it is good."""

    family: ClassVar[str] = "verifier"
    type: ClassVar[str] = "acronym"

    input: str = "title"
    """Input with the title."""

    def verify(self, draft: str, state: State) -> Verdict:
        """The mean of four checks."""
        title = " ".join(inputs.texts(state, self.input))
        found = check_acronym(draft, title)
        if not found.acronym:
            return Verdict(0.0, ("Reply with one acronym and nothing else.",))
        wrong = [
            (found.short, "It must have two to ten letters."),
            (found.taken, "Its letters must stand in the title in this order, the first one beginning a word."),
            (found.covers == 1, "It should take the first letter of each important word of the title."),
            (found.speakable, "It cannot be spoken: it needs vowels between its consonants."),
        ]
        return Verdict(found.score, tuple(message for holds, message in wrong if not holds))


class AcronymScore(Part):
    """Whether the answer is one short, speakable acronym whose letters come from the title. Taste is not measured."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "acronym"

    field: str = "title"
    """Column with the title."""

    def figures(self) -> Mapping[str, Figure]:
        """acronym, acronym_taken, acronym_known."""
        return {
            "acronym": Figure("Mean of four checks: short, letters in order, initials covered, speakable"),
            "acronym_taken": Figure("Answers that are one acronym whose letters stand in the title in this order"),
            "acronym_known": Figure("Answers that are the acronym in use, one of many good ones"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """Unscored where the sample has no title."""
        title = sample.fields.get(self.field)
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        if not isinstance(title, str) or not title.strip():
            return {name: Score.unscored(f"the sample has no text {self.field!r}") for name in self.figures()}
        found = check_acronym(answer.text, title)
        scores = {"acronym": Score(found.score), "acronym_taken": Score(float(found.taken))}
        if sample.answers:
            known = {right.upper().replace(".", "") for right in sample.answers}
            scores["acronym_known"] = Score(float(found.acronym in known))
        return scores
