"""ROUGE (Lin 2004): n-grams and longest common subsequence shared with a reference."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import ClassVar

from llmkit.evaluation.metrics.normalize import read_answer, strip_marks
from llmkit.part import Part
from llmkit.text.words import words
from llmkit.types import Figure, Sample, Score, State


class Rouge(Part):
    """F1 of ROUGE-1, ROUGE-2 and ROUGE-L with the nearest reference; words as they stand, without stemming."""

    family: ClassVar[str] = "metric"
    type: ClassVar[str] = "rouge"

    def figures(self) -> Mapping[str, Figure]:
        """rouge1, rouge2, rougeL."""
        return {
            "rouge1": Figure("Words shared with the reference, F1"),
            "rouge2": Figure("Pairs of words shared with the reference, F1"),
            "rougeL": Figure("Longest common subsequence with the reference, F1"),
        }

    def score(self, sample: Sample, state: State) -> Mapping[str, Score]:
        """The sample's answers are the references."""
        if not sample.answers:
            return {name: Score.unscored("the sample has no reference") for name in self.figures()}
        answer = read_answer(state)
        if isinstance(answer, str):
            return {name: Score.unscored(answer) for name in self.figures()}
        text = [] if answer.abstained else _words(strip_marks(answer.text))
        golds = [_words(gold) for gold in sample.answers]
        return {
            "rouge1": Score(max(_ngrams(text, gold, 1) for gold in golds)),
            "rouge2": Score(max(_ngrams(text, gold, 2) for gold in golds)),
            "rougeL": Score(max(_f1(longest_common_subsequence(text, gold), len(text), len(gold)) for gold in golds)),
        }


def _ngrams(a: Sequence[str], b: Sequence[str], n: int) -> float:
    first = Counter(tuple(a[i : i + n]) for i in range(len(a) - n + 1))
    second = Counter(tuple(b[i : i + n]) for i in range(len(b) - n + 1))
    return _f1((first & second).total(), first.total(), second.total())


def _f1(shared: int, a: int, b: int) -> float:
    return 2 * shared / (a + b) if shared else 0.0


def _words(text: str) -> list[str]:
    return [word.text for word in words(text)]


def longest_common_subsequence(a: Sequence[str], b: Sequence[str]) -> int:
    """Length of the longest common subsequence of two word lists."""
    row = [0] * (len(b) + 1)
    for one in a:
        diagonal = 0
        for j, other in enumerate(b, 1):
            above = row[j]
            row[j] = diagonal + 1 if one == other else max(above, row[j - 1])
            diagonal = above
    return row[-1]
